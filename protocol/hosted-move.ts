import { z } from 'zod';
import { NodeId, Sentence, WallMs } from './ids.ts';
import { limits } from './limits.ts';
import { RoundName } from './round-name.ts';

/** As a URL has it between its brackets: no zone, as that is another one's on another machine. */
const Ipv6 = z
  .string()
  .max(45)
  .regex(/^[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}$/, 'an address of IPv6 has groups of hex digits');

/** Where GitLab's data lie on a machine, and how that machine's gate is reached. */
export const HostedAt = z.looseObject({
  place: z.looseObject({
    kind: z.enum(['subvolume', 'image', 'folder']),
    path: z
      .string()
      .max(1024)
      .regex(/^\/(?!.*(?:^|\/)\.\.?(?:\/|$))[^\p{C}]*$/u, "a place is an absolute path without '.' and '..'"),
  }),
  hostname: z
    .string()
    .max(253)
    .regex(/^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$/, 'a host name is letters, digits, dots and hyphens'),
  /** Its address, of IPv6 and without brackets; earlier versions read `hostname` instead. Absent: `hostname` is it. */
  ipv6: Ipv6.optional(),
});
export type HostedAt = z.infer<typeof HostedAt>;

/**
 * A person wants the mesh's GitLab on machine `to`. It is there until GitLab has served from `to`, or is given up. `base`: absent
 * while `from` hosts; then the round with which `to` began, and with which `from` goes on if `to` does not come up.
 */
export const HostedMove = z.looseObject({
  from: NodeId,
  to: NodeId,
  /** At `to`, and back at `from`. */
  there: HostedAt,
  back: HostedAt,
  base: RoundName.optional(),
  since: WallMs,
  because: Sentence,
  /**
   * Nobody wished it: `from` was silent, and GitLab goes on at `to` with `base`. It never goes back by itself. `failed`: why `to` could
   * not bring it up; its gate is closed for that epoch, and the leader goes on to the next machine. `tried`: those before it.
   */
  unplanned: z.looseObject({ failed: Sentence.optional(), tried: z.array(NodeId).max(limits.standbys * 4) }).optional(),
});
export type HostedMove = z.infer<typeof HostedMove>;

/** How the last move ended. `isUnplanned`: its host was silent. */
export const MoveEnd = z.looseObject({
  from: NodeId,
  to: NodeId,
  isDone: z.boolean(),
  because: Sentence,
  at: WallMs,
  isUnplanned: z.boolean().optional(),
});
export type MoveEnd = z.infer<typeof MoveEnd>;

/**
 * Moves that nobody wished, since GitLab last served for long at one machine. `flag`: why it does not move by itself any more; only a
 * person clears it. `wanted`: a person has it go on at `to`, which the mesh would not start by itself, as soon as its host is surely shut.
 */
export const HostedFailover = z.looseObject({
  count: z.int().nonnegative().max(1000),
  flag: Sentence.optional(),
  wanted: z.looseObject({ to: NodeId, since: WallMs, because: Sentence }).optional(),
});
export type HostedFailover = z.infer<typeof HostedFailover>;
