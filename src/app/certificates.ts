const wanted = 'NODE_EXTRA_CA_CERTS'
const kept = 'QUESTLOG_NODE_EXTRA_CA_CERTS'
/** Options of Node that load code of others into each process, such as an agent that reports to a collector: that may speak TLS. */
const loadsOthers = /(?:^|\s)(?:-r|--require|--import|--loader|--experimental-loader)[\s=]/

/**
 * The environment for a process that speaks to nobody by TLS. Where `NODE_EXTRA_CA_CERTS` is set, as companies do whose proxies have certificates of their
 * own, Node 20 reads all root certificates at its start: that takes longer than everything else of it. The environment as it is when `NODE_OPTIONS` loads code.
 */
export function withoutCertificates(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  if (loadsOthers.test(environment['NODE_OPTIONS'] ?? '')) return environment
  const { [wanted]: _read, [kept]: _kept, ...others } = environment
  return others
}

/** The same for one whose children may need the certificates: it gives them back with `restoreCertificates` after its own start. */
export function withCertificatesLater(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const file = environment[wanted]
  const others = withoutCertificates(environment)
  return file === undefined || others[wanted] !== undefined ? others : { ...others, [kept]: file }
}

export function restoreCertificates(environment: NodeJS.ProcessEnv): void {
  const file = environment[kept]
  if (file === undefined) return
  environment[wanted] = file
  delete environment[kept]
}
