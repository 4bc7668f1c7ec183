import type { Ledger } from '../../protocol/ledger.ts';
import type { Measured, StandbySeen } from '../../protocol/report.ts';
import { besideOf, besideTurn } from '../../scheduler/hosting/beside-rules.ts';
import { takenOver } from '../../scheduler/hosting/failover-edits.ts';
import { addressThere, type Hosting, hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { isRefusal } from '../../scheduler/ledger-edit.ts';
import type { ViewInput } from '../../scheduler/snapshot-view.ts';
import { copiesLab } from './copies-lab.ts';
import { viewOf } from './snapshot-lab.ts';

export const round = (number: number, epoch = 1) => ({ era: 0, epoch, number });
export const there = { hostname: '10.0.0.7' };

/** kang hosts and is silent; desktop-1 and desktop-2 are in sync, as desktop-1 sees it. */
export class Standby {
  readonly view: ViewInput;
  ledger: Ledger;
  silentMs = 0;
  newest: Record<string, number | null> = { 'desktop-1': 7, 'desktop-2': 7 };
  away: string[] = ['kang'];
  paused: string[] = [];
  measured: Partial<Measured> = {};
  beside: StandbySeen['beside'];
  leader: string | null = 'laptop';
  self = 'desktop-1';

  constructor() {
    const standbys = ['desktop-1', 'desktop-2'].map((node) => ({ node, because: 'named' }));
    const set = { version: 3, members: ['desktop-1', 'desktop-2'], last: null, boot: 'b' };
    const all = copiesLab(['desktop-1', 'desktop-2'], { standbys, set, bases: { 1: round(1) } }, 'http://10.0.0.1');
    all.run(5000);
    all.elect('laptop');
    this.view = viewOf(all, 'desktop-1');
    this.ledger = all.committed;
  }

  now(silentMs = this.silentMs): ViewInput {
    this.silentMs = silentMs;
    const at = this.view.at + 3_600_000;
    const { reports } = this.view.jobs;
    const { data } = hostingOf(this.ledger)!;
    const said = Object.entries(reports).map(([node, heard]) => {
      const number = this.newest[node];
      const standby = number == null ? null : { data, newest: { round: round(number), takenAt: 1 } };
      const paused = this.paused.includes(node) && { paused: 'all' as const, pausedBecause: 'its owner has paused it' };
      const report = {
        ...heard.report,
        measured: { ...heard.report.measured, ...paused, ...(node === this.self && this.measured) },
        ...(standby && { standby: { ...standby, freeBytes: 1, problem: null, beside: this.beside } }),
      };
      return [node, { ...heard, report }];
    });
    return {
      ...this.view,
      ...{ at, self: this.self, ledger: this.ledger, jobs: { ...this.view.jobs, reports: Object.fromEntries(said) } },
      leader: this.leader === null ? null : { node: this.leader, term: 3, sinceWallMs: 1 },
      liveness: (node) =>
        this.away.includes(node) ? { state: 'silent', since: at - silentMs } : { state: 'alive', since: at },
    };
  }

  /** Undefined: it is not the time. */
  turn = (silentMs?: number, wish: 'auto' | 'always' | 'never' = 'auto'): string | null | undefined =>
    besideTurn(this.now(silentMs), wish)?.because;

  gitlab(over: object): this {
    this.ledger = {
      ...this.ledger,
      gitlab: { ...this.ledger.gitlab, hosted: { ...this.ledger.gitlab.hosted!, ...over } },
    };
    return this;
  }

  next(): Hosting {
    const hosting = hostingOf(this.ledger)!;
    return { ...hosting, ...addressThere(hosting, there) };
  }

  booted = (number = 7) => besideOf(this.ledger, this.next(), round(number));

  /** The leader names that machine, with that round. */
  takenOver(to = 'desktop-1', number = 7): this {
    const { data, epoch, host, copies } = hostingOf(this.ledger)!;
    const at = { place: { kind: 'image' as const, path: '/x' }, ...there };
    const one = {
      data,
      epoch,
      host,
      version: copies!.set.version,
      to,
      there: at,
      base: round(number),
      because: 'silent',
      isInVain: false,
    };
    const after = takenOver(one, 5).apply(this.ledger);
    if (isRefusal(after)) throw new Error(after.refused);
    this.ledger = after;
    return this;
  }
}
