import type { NodeId } from '../../protocol/ids.ts';
import type { GitlabSeen } from '../../protocol/report.ts';
import type { Hosting } from '../../scheduler/hosting/hosted-edits.ts';
import type { BesidePort } from './beside/ready-clone.ts';
import type { DataPlace } from './data-place.ts';
import type { CareOptions } from './gitlab-care.ts';
import type { LeaseGate } from './lease-at-gate.ts';
import type { MovedCopies, MoveSources } from './move/move-ports.ts';
import type { SystemTools } from './system-tools.ts';

export interface KeeperOptions extends CareOptions {
  self: NodeId;
  /**
   * `create`: it may be made; not when GitLab stood there once. `mesh`: whose it is, or was. `isUnchecked`: as it is, also half of
   * one, to put other data there.
   */
  openPlace(hosting: Hosting, create: boolean, mesh: string, isUnchecked?: boolean): Promise<DataPlace>;
  /** With all that lies in it. None there is fine. */
  removePlace(hosting: Hosting): Promise<void>;
  gateFor(hosting: Hosting): LeaseGate;
  /** By which data change places. */
  tools: SystemTools;
  unseal(sealed: string): string;
  /** What others of this machine's have to say of it: they are told together. */
  besides?(): Pick<GitlabSeen, 'vault' | 'copies' | 'upgrade' | 'fenced' | 'unkept'>;
  /** Asked before its gate lets anybody in: false where what it was made of is being brought back. */
  mayServe?(data: string): boolean;
  /** Copies of these data may be made while their place is open. */
  copies?: { opened(hosting: Hosting, place: DataPlace): void; ends(): Promise<void> } & MovedCopies;
  /** For a planned move from here. */
  move?: MoveSources;
  /** What was booted here while its former host was silent. */
  beside?: BesidePort;
  /** What the mesh is told; null when this machine hosts nothing. */
  report(seen: GitlabSeen | null): void;
  /** The gate has read that the epoch is over (SAFETY H7). */
  onGateClosed(epoch: number): void;
}
