import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { vi } from 'vitest';
import { AdoptionJournal, isOver } from '../../node/hosting/adopt/adoption-journal.ts';
import { GitlabAdopter } from '../../node/hosting/adopt/gitlab-adopter.ts';
import { newLife } from '../../node/hosting/gitlab-state.ts';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import { abilities, type Ledger } from '../../protocol/ledger.ts';
import { hostingDrained, hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { applyChange } from '../../scheduler/membership.ts';
import { ledgerOf, wall } from './raft-one.ts';

export const data = '0123456789ab';
export const before = {
  name: 'gitlab',
  isRunning: true,
  startedAt: 'then',
  restart: { Name: 'always', MaximumRetryCount: 0 },
};
export const begun = {
  container: {
    id: 'c0ffee',
    name: 'gitlab',
    parked: 'gitlab-before-autogit',
    restart: before.restart,
    wasRunning: true,
  },
  folders: [{ inside: '/var/opt/gitlab', outside: '/srv/gitlab/data' }],
  ...{ dataBytes: 1, needBytes: 1 },
  hosted: {
    ...{ data, image: 'gitlab/gitlab-ce:17.5.1-ce.0', preset: 'minimal' as const, port: 8929, sshPort: null },
    ...{ hostname: 'kang.lan', place: { kind: 'subvolume' as const, path: '/srv/place' } },
  },
};

const isRefusal = (after: object): after is { refused: string } => 'refused' in after;

/** The power goes between two acts. */
class Cut extends Error {}

/** A machine: its engine, its disk, the ledger of its mesh, and its keeper; all but the adopter outlives a cut. */
export class Machine {
  readonly home = mkdtempSync(join(tmpdir(), 't-adopter-'));
  container: typeof before | null = { ...before };
  /** What lies in the place: half of the copy is none. */
  place: 'none' | 'half' | 'whole' = 'none';
  ledger: Ledger;
  acts = 0;
  cutAt = Number.POSITIVE_INFINITY;
  isRefused = false;
  /** So often its keeper starts it in vain. */
  faults = 0;
  isUp = false;
  /** Its keeper serves before the answer of the mesh has come. */
  isSlowToHear = false;
  /** Its copy takes hours. */
  isSlowToCopy = false;
  /** Another container that runs on the same folders. */
  other: string | null = null;
  /** Names of other containers. */
  taken: string[] = [];
  adopter!: GitlabAdopter;

  constructor() {
    const ledger = ledgerOf({ A: 2 });
    this.ledger = { ...ledger, nodes: { A: { ...ledger.nodes.A!, can: [...abilities] } } };
    this.boot();
  }

  /** An agent begins. */
  boot(): void {
    this.adopter = new GitlabAdopter({
      self: 'A',
      journal: new AdoptionJournal(this.home),
      log: { info: () => undefined, warn: () => undefined } as never,
      clock: { wallMs: () => wall, bootMs: () => Date.now() },
      pause: (ms, signal) =>
        new Promise((done) => {
          const end = (): void => {
            signal.removeEventListener('abort', end);
            done();
          };
          setTimeout(end, ms);
          signal.addEventListener('abort', end);
        }),
      ledger: () => this.ledger,
      change: (change) => this.#act(() => this.#change(change)),
      old: {
        look: async () => this.container,
        setRestart: (_, policy) =>
          this.#act(() => {
            this.#old.restart = { MaximumRetryCount: 0, ...policy };
          }),
        stop: () =>
          this.#act(() => {
            this.#old.isRunning = false;
          }),
        rename: (_, name) =>
          this.#act(() => {
            if (this.taken.includes(name)) return false;
            this.#old.name = name;
            return true;
          }),
        otherOn: async () => this.other,
        start: () =>
          this.#act(() => {
            this.#old.isRunning = true;
          }),
      },
      place: {
        make: async (_adoption, _epoch, _say, givenUp) => {
          if (this.isSlowToCopy)
            await new Promise((_done, failed) => givenUp?.addEventListener('abort', () => failed(givenUp.reason)));
          await this.#act(() => {
            this.place = 'half';
          });
          await this.#act(() => {
            this.place = 'whole';
          });
        },
        drop: () =>
          this.#act(() => {
            this.place = 'none';
          }),
      },
      life: () => ({ ...newLife(false), faults: this.faults, fault: 'it ended: exit code 1' }),
    });
    this.adopter.start();
  }

  get #old(): typeof before {
    if (this.container === null) throw new Error('it is gone');
    return this.container;
  }

  /** Cut before it, or right after it. */
  async #act<T>(act: () => T): Promise<T> {
    this.acts += 1;
    if (this.acts === this.cutAt) throw this.#dies();
    const done = act();
    this.acts += 1;
    if (this.acts === this.cutAt) throw this.#dies();
    return done;
  }

  #dies(): Cut {
    void this.adopter.stop();
    return new Cut('the power went');
  }

  #change(change: Change): ChangeOutcome {
    if (this.isRefused && change.kind === 'deploy-gitlab')
      return { state: 'refused', because: 'another one was first' };
    const after = applyChange(this.ledger, change, wall);
    if (isRefusal(after)) return { state: 'refused', because: after.refused };
    this.ledger = after as Ledger;
    if (this.isSlowToHear) this.keep();
    return { state: 'done', because: 'done' };
  }

  /** What the keeper does with what the ledger says. */
  keep(): void {
    const hosting = hostingOf(this.ledger);
    if (hosting === null) return;
    if (hosting.ending) {
      this.isUp = false;
      this.ledger = hostingDrained(data, 'no jobs').apply(this.ledger) as Ledger;
      this.place = hosting.ending.deleteData ? 'none' : this.place;
      this.#change({ kind: 'gitlab-ended', data, epoch: hosting.epoch });
    } else if (this.faults === 0) this.isUp = this.place === 'whole' && this.adopter.mayServe(data);
  }

  get isOver(): boolean {
    const known = new AdoptionJournal(this.home).read();
    return known !== null && isOver(known);
  }

  async toItsEnd(): Promise<void> {
    for (let turns = 0; turns < 200 && !this.isOver; turns += 1) {
      await vi.advanceTimersByTimeAsync(1000);
      if (this.acts >= this.cutAt) {
        this.cutAt = Number.POSITIVE_INFINITY;
        this.boot();
      }
      this.keep();
    }
    await this.adopter.stop();
  }
}
