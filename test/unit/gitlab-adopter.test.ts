import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { AdoptionJournal } from '../../node/hosting/adopt/adoption-journal.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { applyChange } from '../../scheduler/membership.ts';
import { before, begun, data, Machine } from './adopter-machine.ts';
import { wall } from './raft-one.ts';

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
    machine.adopter.begin(begun, null);
    expect(() => machine.adopter.begin(begun, null)).toThrow('already');
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
    machine.adopter.begin(begun, null);
    await machine.toItsEnd();
    expect([step(), machine.ledger.gitlab.protected]).toEqual(['done', undefined]);
  });

  it.each(Array.from({ length: 14 }, (_, at) => at + 1))(
    'cut before and after every act (%i) it comes up all the same, of a whole copy',
    async (cutAt) => {
      machine.cutAt = cutAt;
      machine.adopter.begin(begun, null);
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
    machine.adopter.begin(begun, null);
    await machine.toItsEnd();
    isBack();
    expect(machine.adopter.current()?.adoption.because).toContain('another one was first');
  });

  it.each(Array.from({ length: 30 }, (_, at) => at))(
    'two starts in vain, cut before and after every act (%i)',
    async (cutAt) => {
      machine.faults = 2;
      machine.cutAt = cutAt === 0 ? Number.POSITIVE_INFINITY : cutAt;
      machine.adopter.begin(begun, null);
      await machine.toItsEnd();
      isBack();
      if (cutAt === 0) expect(machine.acts).toBeLessThan(30);
    },
  );

  it('somebody starts it again while it is copied', async () => {
    machine.adopter.begin(begun, null);
    for (let turns = 0; turns < 50 && step() !== 'copying'; turns += 1) await vi.advanceTimersByTimeAsync(50);
    machine.container = { ...(machine.container as typeof before), isRunning: true };
    await machine.toItsEnd();
    isBack();
    expect(machine.adopter.current()?.adoption.because).toContain('started again by somebody');
  });

  it('somebody starts it again once it is copied, before the gate of the mesh has its port', async () => {
    machine.faults = 1;
    machine.adopter.begin(begun, null);
    for (let turns = 0; turns < 50 && step() !== 'booting'; turns += 1) await vi.advanceTimersByTimeAsync(200);
    machine.container = { ...(machine.container as typeof before), isRunning: true };
    await machine.toItsEnd();
    isBack();
  });

  it.each(['copying', 'booting'])(
    'another one was made on its folders (%s): the old one is not started beside it',
    async (when) => {
      machine.faults = 1;
      machine.adopter.begin(begun, null);
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
    machine.adopter.begin(begun, null);
    await machine.toItsEnd();
    expect([step(), machine.container]).toEqual(['returned', before]);
  });

  it('its name is taken meanwhile: it runs all the same, and that is said', async () => {
    machine.isRefused = true;
    machine.adopter.begin(begun, null);
    for (let turns = 0; turns < 200 && step() !== 'copying'; turns += 1) await vi.advanceTimersByTimeAsync(20);
    machine.taken.push('gitlab');
    await machine.toItsEnd();
    expect([step(), machine.container]).toEqual(['returned', { ...before, name: 'gitlab-before-autogit' }]);
    expect(machine.adopter.current()?.adoption.because).toContain('another container is called gitlab by now');
  });

  it('it is uninstalled before it served', async () => {
    machine.faults = 1;
    machine.adopter.begin(begun, null);
    for (let turns = 0; turns < 50 && step() !== 'booting'; turns += 1) await vi.advanceTimersByTimeAsync(200);
    const { epoch } = machine.ledger.gitlab;
    const ending = { kind: 'uninstall-gitlab' as const, deleteData: false, now: true, force: false, epoch };
    machine.ledger = applyChange(machine.ledger, ending, wall) as Ledger;
    await machine.toItsEnd();
    isBack();
  });

  it('it was removed by somebody: said, and nothing of the copy stays', async () => {
    machine.adopter.begin(begun, null);
    machine.container = null;
    await machine.toItsEnd();
    expect([step(), machine.place]).toEqual(['returned', 'none']);
    expect(machine.adopter.current()?.adoption.because).toContain('was removed');
  });

  it('and a gate lets nobody in once the way back has begun', async () => {
    machine.faults = 2;
    machine.adopter.begin(begun, null);
    for (let turns = 0; turns < 200 && step() !== 'returning'; turns += 1) await vi.advanceTimersByTimeAsync(100);
    expect([machine.adopter.mayServe(data), machine.adopter.mayServe('ffffffffffff')]).toEqual([false, true]);
    await machine.toItsEnd();
  });
});

it('it has served before the answer of the mesh has come: that is not forgotten', async () => {
  machine.isSlowToHear = true;
  machine.adopter.begin(begun, null);
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
    machine.adopter.begin(begun, null);
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
  machine.adopter.begin(begun, null);
  for (let turns = 0; turns < 50 && step() !== 'booting'; turns += 1) await vi.advanceTimersByTimeAsync(200);
  const done = machine.adopter.removed();
  await machine.toItsEnd();
  await done;
  expect([step(), machine.container, machine.place]).toEqual(['returned', before, 'none']);
});

it('one that is removed while it copies for hours has brought it back within the seconds that its agent has', async () => {
  machine.isSlowToCopy = true;
  machine.adopter.begin(begun, null);
  for (let turns = 0; turns < 50 && step() !== 'copying'; turns += 1) await vi.advanceTimersByTimeAsync(200);
  await vi.advanceTimersByTimeAsync(1000);
  void machine.adopter.removed();
  await vi.advanceTimersByTimeAsync(2000);
  isBack();
});

it('once it has served nothing brings the old one back', async () => {
  machine.adopter.begin(begun, null);
  for (let turns = 0; turns < 50 && step() !== 'booting'; turns += 1) await vi.advanceTimersByTimeAsync(200);
  expect(machine.adopter.mayServe(data)).toBe(true);
  machine.faults = 5;
  await machine.toItsEnd();
  expect([step(), machine.container?.isRunning]).toEqual(['done', false]);
});

it('what was looked at while another one was begun and given back is not what its owner had', async () => {
  machine.faults = 5;
  machine.adopter.begin(begun, null);
  await machine.toItsEnd();
  isBack();
  expect(() => machine.adopter.begin(begun, null)).toThrow('while this was looked at');
  machine.adopter.begin(begun, machine.adopter.current()?.adoption ?? null);
  expect(step()).toBe('parking');
});

it('a record that cannot be read is not written over: it alone says what a container was like', async () => {
  const file = join(machine.home, 'adopted-gitlab.json');
  writeFileSync(file, '{"step":"copying",');
  machine.boot();
  expect(() => machine.adopter.begin(begun, null)).toThrow('cannot be read');
  expect(readFileSync(file, 'utf8')).toBe('{"step":"copying",');
  rmSync(file);
  machine.adopter.begin(begun, null);
  expect(step()).toBe('parking');
});
