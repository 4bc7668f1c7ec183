/** Every time of notices, once. ms unless the name says otherwise. */
export const noticeTimings = {
  /** The leader looks so often. */
  lookMs: 15_000,
  /** It must be so for so long before it is told: looked at twice at least. */
  failMs: 30_000,
  warnMs: 60_000,
  infoMs: 30_000,
  /** Of what often mends itself, or was somebody's wish. */
  patientMs: {
    'node-suspect': 180_000,
    'quorum-at-risk': 300_000,
    'tags-unsatisfiable': 120_000,
    'gpu-paused': 1_800_000,
  } as Readonly<Record<string, number>>,
  /** And over for so long before that is told, by how often it has come back. */
  overMs: [60_000, 300_000, 1_800_000],
  /** What is over is kept in mind: within this it has come back, later it is new. */
  mindMs: 7_200_000,
  /** That it is still so is told again, each time later; of what is broken outright, and of the rest. */
  stillFailMs: [3_600_000, 21_600_000, 86_400_000],
  stillWarnMs: [86_400_000, 259_200_000],
  /** That more of what only happens has happened is told no sooner than so long after the last word of it. */
  moreMs: 600_000,
  /** So many notices at once, of which the last is for what is broken outright, and one more after so long. */
  budget: 4,
  refillMs: 600_000,
  /** More than these at one look are one notice. */
  singlesMost: 2,
  /** What nobody could be told in that time is told no more. */
  giveUpMs: 86_400_000,
  /** Between tries of one that does not take it. */
  againMs: { least: 15_000, most: 1_800_000 },
  /** Who is told that the mesh is there is told so often. */
  beatMs: 60_000,
  /** One try. */
  sendMs: 15_000,
  /** Tries in vain before the mesh says that somebody cannot be told. */
  failingAfter: 3,
} as const;
