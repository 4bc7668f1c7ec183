import type { Answer, Ask } from '../../protocol/asks.ts';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { FencedThere } from '../../scheduler/snapshot-fenced.ts';
import type { OtherMesh } from './other-meshes.ts';

/** What whoever asks something of the mesh's own GitLab has of its agent. */
export interface HostingLines {
  self: NodeId;
  wallMs(): number;
  ledger(): Ledger;
  /** A member, this one included. */
  ask(node: NodeId, ask: Ask, timeoutMs: number): Promise<Answer>;
  change(change: Change): Promise<ChangeOutcome>;
  nodeNamed(name: string): NodeId;
  /** host:port of where it is connected now. */
  addressOf(node: NodeId): string | null;
  /** Meshes of this LAN that are not ours, as this machine sees them. */
  others(): readonly OtherMesh[];
  /** What machines say that they keep of what they served until another one took over. */
  fenced(): FencedThere[];
  /** Null for what is sealed for others. */
  unseal(sealed: string): string | null;
  /** For the voters and that machine. */
  sealFor(node: NodeId, text: string): string;
}
