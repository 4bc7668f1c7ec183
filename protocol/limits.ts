/** Every limit of the wire and of the ledger in one place. Bytes unless the name says otherwise. */
export const limits = {
  /** The longest hold that a machine may announce for its runs when it leaves. */
  holdMs: 600_000,
  /** One frame on a direct stream: a whole ledger must fit. */
  frameBytes: 1 << 20,
  /** One gossiped report. */
  reportBytes: 64 << 10,
  /** One frame of the enrol protocol, the only thing that a stranger may say. */
  enrolFrameBytes: 8 << 10,
  /** One request on agent.sock. */
  socketRequestBytes: 256 << 10,
  /** Terms, versions, eras: twice as much still is a number that JSON and JavaScript keep whole. */
  counter: 2 ** 52,
  nodes: 64,
  /** More nodes are a crowd: what costs each of them the square of their number is then said more rarely. */
  smallMesh: 8,
  voters: 7,
  classes: 200,
  runsInFlight: 500,
  runsKept: 60,
  rescues: 64,
  openApprovals: 16,
  invites: 16,
  rememberedRequests: 64,
  acts: 16,
  queueJobs: 2000,
  /** Jobs that fit no machine, as far as they are named to a person. */
  misfits: 10,
  tagsPerJob: 50,
  tagChars: 255,
  nameChars: 63,
  sentenceChars: 1000,
  addresses: 16,
  gpus: 32,
  labels: 50,
} as const;
