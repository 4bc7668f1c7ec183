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
  /** Most of terms, versions and eras. Twice as much is still a number that JSON and JavaScript keep exactly. */
  counter: 2 ** 52,
  nodes: 64,
  /** With more nodes than this the mesh is a crowd: messages whose number grows with the square of the nodes are sent more rarely. */
  smallMesh: 8,
  voters: 7,
  classes: 200,
  runsInFlight: 500,
  runsKept: 60,
  rescues: 64,
  faults: 64,
  /** The mesh has jobs run again that failed by no doing of their own, within an hour: one of them, and all together. */
  retriesPerJob: 2,
  retriesPerMesh: 20,
  openApprovals: 16,
  invites: 16,
  /** How long an invite is good for: ms. */
  inviteLeastMs: 10_000,
  inviteMostMs: 7 * 86_400_000,
  rememberedRequests: 64,
  acts: 16,
  /** Whom the mesh tells that something is wrong; causes that it remembers to have told; notices that wait; characters of what one says. */
  noticeTargets: 16,
  noticeCauses: 24,
  noticesOut: 8,
  noticeChars: 400,
  /** Acts that travel with the ledger until each voter has written them down. */
  audited: 12,
  queueJobs: 2000,
  /** So many jobs that fit no machine are named to a person. */
  misfits: 10,
  /** Events of a mesh: in one answer, and kept by each machine. */
  timelineAnswered: 500,
  timelineKept: 2_000,
  /** What machines used: steps of a day, and ms of one. */
  usageSteps: 288,
  usageStepMs: 300_000,
  tagsPerJob: 50,
  tagChars: 255,
  nameChars: 63,
  sentenceChars: 1000,
  addresses: 16,
  gpus: 32,
  labels: 50,
  /** Machines that get the rounds of a hosted GitLab, and those that a person named for it. */
  standbys: 2,
  agreedCopies: 8,
  /** PEM of a certificate with its chain and key; the same encrypted; and of a CA: they stand in the ledger. */
  certificateChars: 32 << 10,
  certificateBoxChars: 44 << 10,
  caChars: 16 << 10,
  /** Epochs of a hosted GitLab whose first rounds the ledger keeps: the newest. */
  bases: 64,
} as const;
