import type { Answer, Ask } from '../../protocol/asks.ts';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import type { BesideWish } from '../../scheduler/hosting/beside-rules.ts';
import type { Happened } from '../../scheduler/inputs.ts';
import type { ViewInput } from '../../scheduler/snapshot-view.ts';
import type { Clock } from '../clock.ts';
import type { Log } from '../log.ts';
import type { SecretBox } from '../secrets/secret-box.ts';
import type { AdoptAsk } from './adopt-room.ts';
import type { HandsOver } from './gitlab-hand-over.ts';
import type { RunWatch } from './run-watch.ts';

/** What a machine is. */
export interface Here {
  nodeId: NodeId;
  home: string;
  version: string;
  /** The engine that would run GitLab. */
  dockerHost: string | null;
  /** Where users and groups of GitLab stand. */
  settingsFile: string;
  /** False: its owner wants no copies on it of what another machine runs. */
  holdsCopies: boolean;
  /** False: its owner wants no drills on it. */
  hasDrills: boolean;
  /** GitLab's answers to writes wait for the mesh (SAFETY H9); absent: false. */
  isStrict?: boolean;
  /** Before which of them its owner wants GitLab elsewhere; absent: never. */
  handsOver?: HandsOver;
  /** When its owner lets GitLab be booted on it while its host is silent; absent or null: `auto`. */
  bootsBeside?: BesideWish | null | undefined;
  /** It listens on GitLab's ports too, where another machine runs it, and answers to its name; absent: it does not. */
  forwards?: boolean;
  /** It speaks mDNS; absent: it does not. */
  mdns?: boolean;
  copyRateBytes: number | null;
  clock: Clock;
  log: Log;
  /** Multiaddrs by which other machines reach it. */
  network: {
    addresses(): string[];
    ask(node: NodeId, ask: Ask, timeoutMs: number): Promise<Answer>;
    addressOf(node: NodeId): string | null;
  };
}

/** What its member knows, and does for it. */
export interface Membership {
  watch: RunWatch;
  box: SecretBox;
  ledger(): Ledger | null;
  change(change: Change): Promise<ChangeOutcome>;
  feed(happened: Happened): void;
  view(): ViewInput;
}

export type VaultAsk = Ask & {
  kind: 'begin-vault' | 'backup-now' | 'backups' | 'compare-gitlab' | 'restore-gitlab' | 'restore-project';
};
export type DoorAsk = Ask & { kind: 'open-copy-door' | 'open-vault-door' };
export type UpgradeAsk = Ask & { kind: 'check-upgrade' | 'rehearse-upgrade' };
export type MoveAsk = Ask & { kind: 'check-move' | 'move-ready' | 'cancel-move' };
export type FencedAsk = Ask & { kind: 'compare-fenced' | 'bring-fenced' | 'drop-fenced' };
export type HostingAsk =
  | VaultAsk
  | UpgradeAsk
  | AdoptAsk
  | FencedAsk
  | MoveAsk
  | (Ask & {
      kind:
        | 'check-deploy'
        | 'check-copies'
        | 'check-protect'
        | 'look-at-gitlab'
        | 'root-password'
        | 'new-password'
        | 'drill-gitlab';
    });
