import { sentenceOf } from '../../../protocol/errors.ts';
import type { Ledger } from '../../../protocol/ledger.ts';
import { newestOf, type RoundName } from '../../../protocol/round-name.ts';
import type { StandbyRules } from '../../../scheduler/hosting/copies/standby-rules.ts';
import { mayBegin } from '../../../scheduler/hosting/failover-rules.ts';
import type { Hosting } from '../../../scheduler/hosting/hosted-edits.ts';
import type { PlaceAt } from '../place-choice.ts';
import type { BtrfsReplica } from './btrfs-replica.ts';
import type { PromiseFile } from './promise-file.ts';

/** With which round GitLab could go on here, when its host took that, by its wall clock; or why with none. */
export type RoundPromise = { round: RoundName; takenAt: number; place: PlaceAt } | { because: string };

interface Held {
  place: PlaceAt;
  parts: { hot: Pick<BtrfsReplica, 'rounds'> };
  rules: { hot: Pick<StandbyRules, 'promise'> };
  promised: Pick<PromiseFile, 'keep'>;
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

/** The newest whole round of this epoch, or the one with which it began; it stays on this disk until the ledger is past that epoch, whichever agent runs then. Never rejects. */
export async function promiseOf(asked: PromiseAsked): Promise<RoundPromise> {
  const { data, epoch, ledger, mine, open, problem } = asked;
  if (ledger === null || mine?.data !== data || mine.epoch !== epoch)
    return { because: 'it is not to hold copies of that, by its ledger' };
  if (open === null) return { because: problem ?? 'its place for copies is not open yet' };
  const { place, parts, rules, promised } = open;
  const newest = newestOf(parts.hot.rounds().filter(({ name }) => mayBegin(ledger, mine, name)));
  if (newest === null) return { because: 'it holds no whole round that GitLab may be started from' };
  rules.hot.promise(epoch, newest.name);
  try {
    await promised.keep({ epoch, name: newest.name });
  } catch (error) {
    return { because: `it cannot write down what it would promise: ${sentenceOf(error)}` };
  }
  const { kind, path } = place;
  return { round: newest.name, takenAt: newest.wallMs, place: { kind, path } };
}
