import type { NodeId } from '../../protocol/ids.ts';
import type { GitlabSeen } from '../../protocol/report.ts';
import type { Hosting } from '../../scheduler/hosting/hosted-edits.ts';
import type { DataPlace } from './data-place.ts';
import type { LeaseGate } from './lease-at-gate.ts';
import type { MeshTokenOptions } from './mesh-token.ts';

export interface KeeperOptions extends MeshTokenOptions {
  self: NodeId;
  home: string;
  /** `create`: it may be made; not when GitLab stood there once. */
  openPlace(hosting: Hosting, create: boolean): Promise<DataPlace>;
  /** With all that lies in it. None there is fine. */
  removePlace(hosting: Hosting): Promise<void>;
  gateFor(hosting: Hosting): LeaseGate;
  unseal(sealed: string): string;
  /** What the mesh is told; null when this machine hosts nothing. */
  report(seen: GitlabSeen | null): void;
  /** The gate has read that the epoch is over (SAFETY H7). */
  onGateClosed(epoch: number): void;
}
