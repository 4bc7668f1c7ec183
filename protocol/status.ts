import { z } from 'zod';
import { Capacity, DrillStep, GpuRoom } from './report.ts';

const nodeState = z.enum(['ready', 'leader', 'busy', 'draining', 'paused', 'suspect', 'gone', 'waiting']);

export const NodeRow = z.object({
  node: z.string(),
  id: z.string(),
  self: z.boolean(),
  state: nodeState,
  voter: z.boolean(),
  version: z.string().nullable(),
  address: z.string().nullable(),
  lastHeardMs: z.number().nullable(),
  arch: z.string().nullable(),
  os: z.string().nullable(),
  capacity: Capacity.nullable(),
  room: z.object({ cpuMillis: z.number(), memoryBytes: z.number(), gpus: z.array(GpuRoom) }).nullable(),
  /** What anything uses there, jobs or not; `room` is what jobs may have. Absent: nothing was measured, or an agent that does not tell. */
  used: z
    .object({
      cpuMillis: z.number(),
      memoryBytes: z.number(),
      /** Of the disk on which it has its jobs. Absent of an earlier version. */
      diskBytes: z.number().optional(),
    })
    .optional(),
  runs: z.array(z.number()),
  labels: z.array(z.string()),
  owner: z.enum(['away', 'present', 'playing']).nullable(),
  /** What takes no new work: `gpu` while only the GPU is its owner's. Absent: nothing, or an agent that does not tell. */
  paused: z.enum(['gpu', 'all']).optional(),
  because: z.string().nullable(),
});
export type NodeRow = z.infer<typeof NodeRow>;

export const Attention = z.object({
  code: z.string(),
  severity: z.enum(['info', 'warn', 'fail']),
  sentence: z.string(),
  /** A command, safe to paste, that fixes it. */
  fix: z.string().nullable(),
});
export type Attention = z.infer<typeof Attention>;

/** What `status` shows, in a terminal, as JSON and on the dashboard. Version 1; fields may be added, never changed. */
export const StatusSnapshot = z.object({
  version: z.literal(1),
  /** RFC 3339. */
  at: z.string(),
  seenFrom: z.string(),
  ageMs: z.number(),
  mesh: z.object({ id: z.string(), name: z.string() }),
  leader: z.object({ node: z.string(), term: z.number(), since: z.string() }).nullable(),
  quorum: z.object({
    voters: z.array(z.string()),
    tieBreaker: z.string().nullable(),
    canLose: z.number(),
    sentence: z.string(),
  }),
  nodes: z.array(NodeRow),
  waiting: z.array(
    z.object({ node: z.string(), id: z.string(), address: z.string(), words: z.string(), since: z.string() }),
  ),
  gitlab: z.object({
    mode: z.enum(['none', 'connected', 'hosted']),
    state: z.enum(['absent', 'deploying', 'healthy', 'degraded', 'failed', 'repairing']),
    url: z.string().nullable(),
    host: z.string().nullable(),
    epoch: z.number(),
    version: z.string().nullable(),
    lastBackup: z.object({ id: z.string(), at: z.string(), copies: z.array(z.string()) }).nullable(),
    /** Machines that get its rounds; `round` is "EPOCH.NUMBER" of the newest that each is known to hold, taken `ageMs` ago. */
    standbys: z
      .array(
        z.object({
          node: z.string(),
          round: z.string().nullable(),
          ageMs: z.number().nullable(),
          inSync: z.boolean(),
          state: z.enum(['in-sync', 'catching-up', 'behind', 'away', 'full', 'refused']),
          because: z.string(),
          percent: z.number().nullable(),
          /** Why the leader chose it. */
          chosen: z.string(),
        }),
      )
      .optional(),
    /** What machines keep that they served until another one took over; absent: none does. `bytes`: free without it, null until measured. */
    fenced: z
      .array(
        z.object({
          node: z.string(),
          name: z.string(),
          /** RFC 3339: when GitLab last wrote to it. */
          at: z.string().nullable(),
          bytes: z.number().nullable(),
          /** A project that is being brought over, and how the last one ended. */
          doing: z.string().nullable(),
          brought: z.object({ isDone: z.boolean(), because: z.string() }).nullable(),
        }),
      )
      .optional(),
    /** After a recovery by force: what was served beside, and nobody has looked at. No push is taken meanwhile; absent: there is none. */
    sides: z.array(z.object({ node: z.string(), name: z.string(), because: z.string() })).optional(),
    /**
     * If its host died now: whether an acknowledged push would be lost, and how many seconds of all else; null seconds: all of it.
     * Null where nobody was asked to hold copies.
     */
    loss: z.object({ pushes: z.boolean(), seconds: z.number().nullable() }).nullable().optional(),
    forecast: z
      .object({
        sentence: z.string(),
        to: z.string().nullable(),
        rtoSeconds: z.number().nullable(),
        rpoSeconds: z.number().nullable(),
        /**
         * What the sentence is made of, in its order: `about` is loss, queued, copies or next (later versions may have others), `when` what
         * stands before a colon. So a face that shows one of them by itself does not say it twice. Absent of an earlier version.
         */
        parts: z.array(z.object({ about: z.string(), when: z.string().optional(), words: z.string() })).optional(),
      })
      .nullable(),
    flag: z.string().nullable(),
    /** Only of a machine with a door for webhooks: what came through it since its agent began. `lastAt`: RFC 3339. */
    webhook: z
      .object({
        url: z.string().nullable(),
        projects: z.number(),
        lastAt: z.string().nullable(),
        hints: z.number(),
        ignored: z.number(),
        refused: z.number(),
        lastRefusal: z.string().nullable(),
        problem: z.string().nullable(),
      })
      .optional(),
    /** Only where a place for backups is named, or GitLab was restored. Times are RFC 3339. */
    vault: z
      .object({
        target: z.string().nullable(),
        checkedAt: z.string().nullable(),
        doing: z.object({ what: z.string(), phase: z.string(), percent: z.number().nullable() }).nullable(),
        problem: z.string().nullable(),
        /** What the machine of the mesh that keeps them says of them. */
        kept: z.string().optional(),
        restored: z.object({ backup: z.string(), isDone: z.boolean(), because: z.string() }).nullable(),
      })
      .optional(),
    /** Of each machine that tries GitLab from what it has of it; `round` is "EPOCH.NUMBER". Times are RFC 3339. */
    drills: z
      .array(
        z.object({
          node: z.string(),
          proven: z.object({ at: z.string(), round: z.string() }).nullable(),
          last: z
            .object({
              at: z.string(),
              round: z.string(),
              isProven: z.boolean(),
              because: z.string(),
              steps: z.array(DrillStep),
            })
            .nullable(),
          doing: z.object({ phase: z.string(), steps: z.array(DrillStep) }).nullable(),
          ended: z.object({ at: z.string(), because: z.string() }).nullable(),
          waits: z.string().nullable(),
        }),
      )
      .optional(),
    /** Only where an upgrade is wished, was made, or is rehearsed. Times are RFC 3339. */
    upgrade: z
      .object({
        wish: z.object({ image: z.string(), from: z.string(), to: z.string() }).nullable(),
        doing: z
          .object({ what: z.string(), to: z.string(), phase: z.string(), percent: z.number().nullable() })
          .nullable(),
        ended: z.object({ image: z.string(), isDone: z.boolean(), because: z.string(), at: z.string() }).nullable(),
        rehearsed: z
          .object({ image: z.string(), isDone: z.boolean(), because: z.string(), seconds: z.number().nullable() })
          .nullable(),
      })
      .optional(),
    /** Only where a move to another machine is wished, or how the last one ended. Times are RFC 3339. */
    move: z
      .object({
        wish: z.object({ from: z.string(), to: z.string() }).nullable(),
        doing: z.object({ phase: z.string(), percent: z.number().nullable() }).nullable(),
        ended: z
          .object({ from: z.string(), to: z.string(), isDone: z.boolean(), because: z.string(), at: z.string() })
          .nullable(),
      })
      .optional(),
    /** Only where a GitLab that runs without the mesh is backed up by it. `lastBackup` is RFC 3339. */
    protected: z
      .object({
        node: z.string(),
        container: z.string(),
        folder: z.string(),
        version: z.string().nullable(),
        way: z.enum(['snapshot', 'own']).nullable(),
        because: z.string(),
        lastBackup: z.string().nullable(),
        /** Snapshots that are kept beside its data; times are RFC 3339. */
        kept: z
          .object({
            folder: z.string(),
            snapshots: z.number(),
            oldest: z.string().nullable(),
            newest: z.string().nullable(),
            problem: z.string().nullable(),
          })
          .optional(),
      })
      .optional(),
    /** Only where the mesh runs GitLab itself: as it was asked for, where its data lies, what its host says of it. */
    hosted: z
      .object({
        data: z.string().optional(),
        image: z.string(),
        preset: z.string(),
        folder: z.string(),
        because: z.string(),
        progress: z.object({ phase: z.string(), percent: z.number().nullable() }).nullable(),
      })
      .optional(),
  }),
  queue: z.object({ waiting: z.number(), running: z.number(), doneToday: z.number(), failedToday: z.number() }),
  attention: z.array(Attention),
  /** Where the agent that was asked serves its page, without what lets anybody in. Absent: nowhere, or an agent that does not tell. */
  page: z.object({ url: z.string() }).optional(),
});
export type StatusSnapshot = z.infer<typeof StatusSnapshot>;
