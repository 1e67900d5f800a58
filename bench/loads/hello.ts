// A bare node:http server that answers every request with 18 bytes, as long as the reply of the example's route. Tells its port.
import { createServer } from 'node:http'
import { answerHello, listenForBench } from './hello-answer.ts'

listenForBench(createServer((_request, response) => answerHello(response)))
