import type { NodeId } from '../../../protocol/ids.ts';
import type { RoundName } from '../../../protocol/round-name.ts';
import type { Hosting } from '../../../scheduler/hosting/hosted-edits.ts';

/** What of the copies a move goes by. */
export interface MovedCopies {
  /** GitLab has ended: one round more, in any case. Resolves once it is on this disk. Rejects or throws while none can be made. */
  lastRound(): Promise<RoundName>;
  /** The newest round from that one on that is whole on that machine's disk, by both books; null while none is. */
  arrived(node: NodeId, from: RoundName): RoundName | null;
  /** Why pushes are not on that machine, or not all is in what is copied; null where both are so. */
  lacks(node: NodeId): string | null;
  /** It has the newest round of artifacts and packages too. */
  hasBulk(node: NodeId): boolean;
}

/** What the machine to which GitLab moves says of itself: what it waits for, how far that is, and what speaks against the move for good. */
export interface TargetSeen {
  waits: string | null;
  percent: number | null;
  fails: string | null;
}

export interface MoveSources {
  /** Rejects while that machine does not answer. */
  target(to: NodeId, hosting: Hosting): Promise<TargetSeen>;
  /** What else this machine is at with GitLab; null: nothing. */
  busy(): string | null;
}
