import type { Ledger } from '../../../protocol/ledger.ts';
import { newestOf, type RoundName } from '../../../protocol/round-name.ts';
import type { StandbyRules } from '../../../scheduler/hosting/copies/standby-rules.ts';
import { mayBegin } from '../../../scheduler/hosting/failover-rules.ts';
import type { Hosting } from '../../../scheduler/hosting/hosted-edits.ts';
import type { PlaceAt } from '../place-choice.ts';
import type { BtrfsReplica } from './btrfs-replica.ts';

/** With which round GitLab could go on here, when its host took that, by its wall clock; or why with none. */
export type RoundPromise = { round: RoundName; takenAt: number; place: PlaceAt } | { because: string };

interface Held {
  place: PlaceAt;
  parts: { hot: Pick<BtrfsReplica, 'rounds'> };
  rules: { hot: Pick<StandbyRules, 'promise'> };
}

interface PromiseAsked {
  data: string;
  epoch: number;
  ledger: Ledger | null;
  /** What this machine holds copies of, or shall. */
  mine: Hosting | null;
  /** Null while its place is not open, because of `problem`. */
  open: Held | null;
  problem: string | null;
}

/** The newest whole round of this epoch, or the one with which it began; it stays on this disk until the ledger is past that epoch. */
export function promiseOf({ data, epoch, ledger, mine, open, problem }: PromiseAsked): RoundPromise {
  if (ledger === null || mine?.data !== data || mine.epoch !== epoch)
    return { because: 'it is not to hold copies of that, by its ledger' };
  if (open === null) return { because: problem ?? 'its place for copies is not open yet' };
  const { place, parts, rules } = open;
  const newest = newestOf(parts.hot.rounds().filter(({ name }) => mayBegin(ledger, mine, name)));
  if (newest === null) return { because: 'it holds no whole round that GitLab may be started from' };
  rules.hot.promise(epoch, newest.name);
  const { kind, path } = place;
  return { round: newest.name, takenAt: newest.wallMs, place: { kind, path } };
}
