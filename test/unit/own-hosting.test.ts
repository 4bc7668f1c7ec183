import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { OwnHosting } from '../../node/agent/own-hosting.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import { meshWithStandbys } from '../sim/copies/copies-mesh.ts';

const told = vi.hoisted(() => [] as string[]);
const broken = vi.hoisted(() => ({ is: false }));
vi.mock('../../node/agent/hosting-room.ts', () => ({
  HostingRoom: class {
    constructor() {
      if (broken.is) throw new Error('no such file');
      told.push('made');
    }
    start = () => told.push('starts');
    stop = async () => told.push('stops');
    ledgerChanged = () => told.push('hears of a ledger');
    holdLease = () => told.push('lease');
    endLease = () => told.push('lease ends');
    removed = async () => told.push('removed');
    answer = async () => ({ kind: 'said', because: 'answered' });
    openDoor = async () => ({ kind: 'said', because: 'opened' });
    attention = () => [];
  },
}));

let home = '';
const warned: string[] = [];
let ledger: Ledger | null = null;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'autogit-own-hosting-'));
  told.length = 0;
  ledger = null;
});
afterEach(() => rmSync(home, { recursive: true }));

const hostingOn = (nodeId: string): OwnHosting =>
  new OwnHosting(
    { nodeId, home, holdsCopies: true, log: { warn: (text: string) => void warned.push(text) } } as never,
    { ledger: () => ledger, feed: () => {} } as never,
  );
const loaded = (): Promise<void> => vi.waitFor(() => expect(told.length).toBeGreaterThan(0));

it('a machine that neither hosts GitLab nor holds copies of it has none of that', async () => {
  const hosting = hostingOn('D');
  hosting.start();
  ledger = meshWithStandbys(['B']);
  hosting.ledgerChanged();
  await hosting.removed();
  await hosting.stop();
  expect(told).toEqual([]);
});

it('it comes with the ledger that names the machine; what was told meanwhile comes in its order', async () => {
  for (const node of ['K', 'B']) {
    told.length = 0;
    ledger = null;
    const hosting = hostingOn(node);
    hosting.start();
    ledger = meshWithStandbys(['B']);
    hosting.ledgerChanged();
    const { 'hold-lease': hold, 'end-lease': end } = hosting.handlers();
    hold({ kind: 'hold-lease', epoch: 1, data: 'data', until: 5 });
    end({ kind: 'end-lease', epoch: 1, because: 'over' });
    await loaded();
    hosting.ledgerChanged();
    await hosting.stop();
    expect(told, node).toEqual(['made', 'starts', 'lease', 'lease ends', 'hears of a ledger', 'stops']);
  }
});

it('what an agent of before has left here is ended by this one, whatever the ledger says', async () => {
  writeFileSync(join(home, 'hosted-gitlab.json'), '{}');
  const hosting = hostingOn('D');
  hosting.start();
  await loaded();
  await hosting.removed();
  expect(told).toEqual(['made', 'starts', 'removed']);
});

it('a question alone starts nothing', async () => {
  const hosting = hostingOn('D');
  hosting.start();
  expect(await hosting.answer({ kind: 'look-at-gitlab' })).toMatchObject({ because: 'answered' });
  expect(told).toEqual(['made']);
});

it('what comes after the end of the agent begins nothing', async () => {
  const hosting = hostingOn('B');
  hosting.start();
  await hosting.stop();
  ledger = meshWithStandbys(['B']);
  hosting.ledgerChanged();
  const { 'hold-lease': hold, 'end-lease': end } = hosting.handlers();
  hold({ kind: 'hold-lease', epoch: 1, data: 'data', until: 5 });
  end({ kind: 'end-lease', epoch: 1, because: 'over' });
  await new Promise((done) => setTimeout(done, 100));
  expect(told).not.toContain('starts');
});

it('code that cannot be loaded, as its files were replaced meanwhile, is loaded at the next question, and the agent ends in order', async () => {
  const hosting = hostingOn('D');
  hosting.start();
  broken.is = true;
  await expect(hosting.answer({ kind: 'look-at-gitlab' })).rejects.toThrow('no such file');
  broken.is = false;
  expect(await hosting.answer({ kind: 'look-at-gitlab' })).toMatchObject({ because: 'answered' });
  const other = hostingOn('D');
  other.start();
  broken.is = true;
  const asked = other.answer({ kind: 'look-at-gitlab' });
  const stopped = other.stop();
  await expect(asked).rejects.toThrow('no such file');
  await stopped;
  broken.is = false;
});

it('of a machine that hosts GitLab it is tried again by itself, and then told all that came meanwhile', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout'] });
  try {
    ledger = meshWithStandbys(['B']);
    const hosting = hostingOn('K');
    broken.is = true;
    hosting.start();
    const { 'hold-lease': hold } = hosting.handlers();
    // For an hour.
    for (let at = 0; at < 7_200; at++) hold({ kind: 'hold-lease', epoch: 1, data: 'data', until: at });
    await vi.waitFor(() => expect(warned).toEqual([expect.stringContaining('no such file')]));
    broken.is = false;
    await vi.advanceTimersByTimeAsync(5_000);
    expect(told.slice(0, 3)).toEqual(['made', 'starts', 'lease']);
    expect(told.length).toBeLessThan(100);
    await hosting.stop();
    expect(told.at(-1)).toBe('stops');
  } finally {
    vi.useRealTimers();
    broken.is = false;
  }
});
