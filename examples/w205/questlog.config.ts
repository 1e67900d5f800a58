// The game of the five write-ups (W1 to W5): its web API, its log and its tables.
// Save this file while questlog runs: the change is live in under a second.
import { defineConfig, event, table } from 'questlog'
import { z } from 'zod'

/** Which write-up's answers the game gives: 'W1', 'W2', or 'W3' (W4 answers the same). */
const answers: 'W1' | 'W2' | 'W3' = 'W1'

const replies = {
  W1: { sword: '\nSword Purchased!\n', guild: '\nGuild joined!\n' },
  W2: { sword: 'You Purchased a Sword!\n', guild: 'You Joined the Guild!\n' },
  W3: { sword: 'Sword Purchased!\n', guild: '\nGuild joined!\n' },
}[answers]

export default defineConfig({
  topics: { events: { partitions: 1 } },

  events: {
    default: event({ route: 'GET /', reply: 'This is the default response!\n' }),

    // W1: /purchase_a_sword?color=red&damage=5. On the log both values are text; the columns have types.
    purchase_sword: event({
      route: 'GET /purchase_a_sword',
      reply: replies.sword,
      params: z.object({
        color: z.string().optional(),
        damage: z.int32().optional(),
      }),
    }),

    // Two routes, one event type: the path of W1 and the path of W2, each with its own answer.
    join_guild: event({
      route: {
        'GET /join_guild': '\nGuild joined!\n',
        'GET /join_the_guild': 'You Joined the Guild!\n',
      },
    }),

    // W3 and W4 add a second schema while the system runs. Uncomment and save while questlog runs:
    // purchase_knife: event({
    //   route: 'GET /purchase_a_knife',
    //   reply: 'Knife Purchased!\n',
    //   fixed: { description: 'very sharp knife' },
    // }),
  },

  tables: {
    // Every event of every type.
    events: table({ from: '*' }),
    default_hits: table({ from: 'default' }),
    sword_purchases: table({ from: 'purchase_sword' }),
    join_guilds: table({ from: 'join_guild' }),

    // Uncomment and save, also much later: the table fills itself with every knife since its route is there.
    // knife_purchases: table({ from: 'purchase_knife' }),
  },
})
