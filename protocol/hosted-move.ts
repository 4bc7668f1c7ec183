import { z } from 'zod';
import { NodeId, Sentence, WallMs } from './ids.ts';
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
});
export type HostedMove = z.infer<typeof HostedMove>;

/** How the last planned move ended. */
export const MoveEnd = z.looseObject({ from: NodeId, to: NodeId, isDone: z.boolean(), because: Sentence, at: WallMs });
export type MoveEnd = z.infer<typeof MoveEnd>;
