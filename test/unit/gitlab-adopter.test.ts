import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { AdoptionJournal, isOver } from '../../node/hosting/adopt/adoption-journal.ts';
import { GitlabAdopter } from '../../node/hosting/adopt/gitlab-adopter.ts';
import { newLife } from '../../node/hosting/gitlab-state.ts';
import type { Change, ChangeOutcome } from '../../protocol/changes.ts';
import { abilities, type Ledger } from '../../protocol/ledger.ts';
import { hostingDrained, hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { applyChange } from '../../scheduler/membership.ts';
import { ledgerOf, wall } from './raft-one.ts';

const data = '0123456789ab';
const before = {
  name: 'gitlab',
  isRunning: true,
  startedAt: 'then',
  restart: { Name: 'always', MaximumRetryCount: 0 },
};
const begun = {
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
class Machine {
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

let machine: Machine;
beforeEach(() => {
  vi.useFakeTimers();
  machine = new Machine();
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(machine.home, { recursive: true, force: true });
});

const step = (): string | undefined => new AdoptionJournal(machine.home).read()?.step;
const isBack = (): void => {
  expect([step(), machine.container, machine.place, machine.isUp]).toEqual(['returned', before, 'none', false]);
  expect(hostingOf(machine.ledger)).toBe(null);
};

describe("a container that becomes the mesh's", () => {
  it("is stopped, kept under another name, and the mesh's serves of its copy", async () => {
    machine.adopter.begin(begun);
    expect(() => machine.adopter.begin(begun)).toThrow('already');
    await machine.toItsEnd();
    expect([step(), machine.place, machine.isUp]).toEqual(['done', 'whole', true]);
    expect(machine.container).toMatchObject({
      name: 'gitlab-before-autogit',
      isRunning: false,
      restart: { Name: 'no' },
    });
    expect(machine.ledger.gitlab).toMatchObject({ mode: 'hosted', host: 'A', epoch: 1 });
  });

  it("whose backups were the mesh's is backed up as the mesh's own", async () => {
    const known = { node: 'A', data: 'aaaaaaaaaaaa', container: 'gitlab', folder: '/srv/gitlab/data' };
    machine.ledger = {
      ...machine.ledger,
      gitlab: { ...machine.ledger.gitlab, protected: { ...known, since: wall, because: 'asked' } },
    };
    machine.adopter.begin(begun);
    await machine.toItsEnd();
    expect([step(), machine.ledger.gitlab.protected]).toEqual(['done', undefined]);
  });

  it.each(Array.from({ length: 14 }, (_, at) => at + 1))(
    'cut before and after every act (%i) it comes up all the same, of a whole copy',
    async (cutAt) => {
      machine.cutAt = cutAt;
      machine.adopter.begin(begun);
      await machine.toItsEnd();
      expect([step(), machine.place, machine.isUp, machine.container?.isRunning]).toEqual([
        'done',
        'whole',
        true,
        false,
      ]);
    },
  );
});

describe('what fails before it served brings the old one back as it was', () => {
  it('the mesh refuses it', async () => {
    machine.isRefused = true;
    machine.adopter.begin(begun);
    await machine.toItsEnd();
    isBack();
    expect(machine.adopter.current()?.adoption.because).toContain('another one was first');
  });

  it.each(Array.from({ length: 30 }, (_, at) => at))(
    'two starts in vain, cut before and after every act (%i)',
    async (cutAt) => {
      machine.faults = 2;
      machine.cutAt = cutAt === 0 ? Number.POSITIVE_INFINITY : cutAt;
      machine.adopter.begin(begun);
      await machine.toItsEnd();
      isBack();
      if (cutAt === 0) expect(machine.acts).toBeLessThan(30);
    },
  );

  it('somebody starts it again while it is copied', async () => {
    machine.adopter.begin(begun);
    for (let turns = 0; turns < 50 && step() !== 'copying'; turns += 1) await vi.advanceTimersByTimeAsync(50);
    machine.container = { ...(machine.container as typeof before), isRunning: true };
    await machine.toItsEnd();
    isBack();
    expect(machine.adopter.current()?.adoption.because).toContain('started again by somebody');
  });

  it('somebody starts it again once it is copied, before the gate of the mesh has its port', async () => {
    machine.faults = 1;
    machine.adopter.begin(begun);
    for (let turns = 0; turns < 50 && step() !== 'booting'; turns += 1) await vi.advanceTimersByTimeAsync(200);
    machine.container = { ...(machine.container as typeof before), isRunning: true };
    await machine.toItsEnd();
    isBack();
  });

  it.each(['copying', 'booting'])(
    'another one was made on its folders (%s): the old one is not started beside it',
    async (when) => {
      machine.faults = 1;
      machine.adopter.begin(begun);
      for (let turns = 0; turns < 200 && step() !== when; turns += 1) await vi.advanceTimersByTimeAsync(20);
      machine.other = 'gitlab-anew';
      await machine.toItsEnd();
      expect([step(), machine.place, machine.isUp, hostingOf(machine.ledger)]).toEqual([
        ...['returned', 'none', false],
        null,
      ]);
      expect(machine.container).toMatchObject({ isRunning: false, restart: { Name: 'no' } });
      expect(machine.adopter.current()?.adoption.because).toContain(
        'container gitlab-anew runs on its folders, and the old one is kept, stopped, as gitlab-before-autogit',
      );
    },
  );

  it('another one runs on its folders already: nothing of it is changed', async () => {
    machine.other = 'gitlab-too';
    machine.adopter.begin(begun);
    await machine.toItsEnd();
    expect([step(), machine.container]).toEqual(['returned', before]);
  });

  it('its name is taken meanwhile: it runs all the same, and that is said', async () => {
    machine.isRefused = true;
    machine.adopter.begin(begun);
    for (let turns = 0; turns < 200 && step() !== 'copying'; turns += 1) await vi.advanceTimersByTimeAsync(20);
    machine.taken.push('gitlab');
    await machine.toItsEnd();
    expect([step(), machine.container]).toEqual(['returned', { ...before, name: 'gitlab-before-autogit' }]);
    expect(machine.adopter.current()?.adoption.because).toContain('another container is called gitlab by now');
  });

  it('it is uninstalled before it served', async () => {
    machine.faults = 1;
    machine.adopter.begin(begun);
    for (let turns = 0; turns < 50 && step() !== 'booting'; turns += 1) await vi.advanceTimersByTimeAsync(200);
    const { epoch } = machine.ledger.gitlab;
    const ending = { kind: 'uninstall-gitlab' as const, deleteData: false, now: true, force: false, epoch };
    machine.ledger = applyChange(machine.ledger, ending, wall) as Ledger;
    await machine.toItsEnd();
    isBack();
  });

  it('it was removed by somebody: said, and nothing of the copy stays', async () => {
    machine.adopter.begin(begun);
    machine.container = null;
    await machine.toItsEnd();
    expect([step(), machine.place]).toEqual(['returned', 'none']);
    expect(machine.adopter.current()?.adoption.because).toContain('was removed');
  });

  it('and a gate lets nobody in once the way back has begun', async () => {
    machine.faults = 2;
    machine.adopter.begin(begun);
    for (let turns = 0; turns < 200 && step() !== 'returning'; turns += 1) await vi.advanceTimersByTimeAsync(100);
    expect([machine.adopter.mayServe(data), machine.adopter.mayServe('ffffffffffff')]).toEqual([false, true]);
    await machine.toItsEnd();
  });
});

it('it has served before the answer of the mesh has come: that is not forgotten', async () => {
  machine.isSlowToHear = true;
  machine.adopter.begin(begun);
  for (let turns = 0; turns < 50 && !machine.isUp; turns += 1) await vi.advanceTimersByTimeAsync(200);
  machine.faults = 5;
  await machine.toItsEnd();
  expect([step(), machine.container?.isRunning]).toEqual(['done', false]);
});

it.each(['booting', 'returning'])(
  'after a restart (%s) with a ledger of before the deployment it waits: the old one does not run beside one of the mesh',
  async (when) => {
    const stale = machine.ledger;
    machine.faults = when === 'booting' ? 1 : 2;
    machine.adopter.begin(begun);
    for (let turns = 0; turns < 200 && step() !== when; turns += 1) await vi.advanceTimersByTimeAsync(50);
    await machine.adopter.stop();
    const known = machine.ledger;
    machine.ledger = stale;
    machine.boot();
    await vi.advanceTimersByTimeAsync(120_000);
    expect([step(), machine.container?.isRunning, machine.place]).toEqual([when, false, 'whole']);
    expect(machine.adopter.current()?.problem).toContain('has not heard yet');
    machine.ledger = known;
    machine.faults = 2;
    await machine.toItsEnd();
    isBack();
    expect(machine.adopter.mayServe(data)).toBe(false);
  },
);

it('a machine that the mesh removes brings the old one back, whatever its ledger says', async () => {
  machine.faults = 1;
  machine.adopter.begin(begun);
  for (let turns = 0; turns < 50 && step() !== 'booting'; turns += 1) await vi.advanceTimersByTimeAsync(200);
  const done = machine.adopter.removed();
  await machine.toItsEnd();
  await done;
  expect([step(), machine.container, machine.place]).toEqual(['returned', before, 'none']);
});

it('one that is removed while it copies for hours has brought it back within the seconds that its agent has', async () => {
  machine.isSlowToCopy = true;
  machine.adopter.begin(begun);
  for (let turns = 0; turns < 50 && step() !== 'copying'; turns += 1) await vi.advanceTimersByTimeAsync(200);
  await vi.advanceTimersByTimeAsync(1000);
  void machine.adopter.removed();
  await vi.advanceTimersByTimeAsync(2000);
  isBack();
});

it('once it has served nothing brings the old one back', async () => {
  machine.adopter.begin(begun);
  for (let turns = 0; turns < 50 && step() !== 'booting'; turns += 1) await vi.advanceTimersByTimeAsync(200);
  expect(machine.adopter.mayServe(data)).toBe(true);
  machine.faults = 5;
  await machine.toItsEnd();
  expect([step(), machine.container?.isRunning]).toEqual(['done', false]);
});
