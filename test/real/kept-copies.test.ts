import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { leftLines } from '../../node/agent/copies-left.ts';
import type { DataPlace } from '../../node/hosting/data-place.ts';
import { HostingMemory } from '../../node/hosting/hosting-memory.ts';
import { KeptCopies } from '../../node/hosting/replica/kept-copies.ts';
import type { Round } from '../../node/hosting/replica/replica-ports.ts';
import type { StandbySeen } from '../../protocol/report.ts';
import { hostingOf } from '../../scheduler/hosting/hosted-edits.ts';
import { meshWithStandbys } from '../sim/copies/copies-mesh.ts';

/** A machine that holds copies, on a plain folder: what it takes fails there, and all else is as it is. */
let folder: string;
let ledger: ReturnType<typeof meshWithStandbys>;
let seen: StandbySeen | null;
let kept: KeptCopies;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 't-kept-'));
  ledger = meshWithStandbys(['B']);
  seen = null;
  const place: Partial<DataPlace> = {
    ...{ kind: 'subvolume', path: folder, notices: [] },
    ...{ tend: async () => [], check: async () => {}, close: async () => {}, letGo: async () => {} },
  };
  mkdirSync(join(folder, 'copies'), { recursive: true });
  kept = new KeptCopies({
    ...{ self: 'B', home: folder, log: { info: () => {}, warn: () => {} }, ledger: () => ledger },
    openPlace: async () => place as DataPlace,
    removePlace: async () => {},
    isHosted: () => false,
    beforeClose: async () => false,
    besides: () => ({}),
    report: (report) => (seen = report),
  });
  kept.start();
});
afterEach(async () => {
  await kept.stop();
  rmSync(folder, { recursive: true, force: true });
});

const opened = () => expect.poll(() => kept.whyNot('K', ledger.gitlab.hosted!.data, 1), { timeout: 5000 }).toBe(null);
const round: Round = {
  part: 'hot',
  name: { era: ledgerEra(), epoch: 1, number: 7 },
  ...{ atMs: 5, wallMs: 6, uuid: 'u-7', parent: null },
};
function ledgerEra(): number {
  return meshWithStandbys(['B']).era.counter;
}

it('tells what it holds to the host of its ledger alone, also over a connection of before', async () => {
  await opened();
  const taker = kept.takerFor('K');
  expect(await taker.held('hot')).toEqual([]);
  await expect(kept.takerFor('C').held('hot')).rejects.toThrow('to the host of the ledger alone');
  ledger = { ...ledger, gitlab: { ...ledger.gitlab, host: 'C', epoch: 2 } };
  await expect(taker.held('hot')).rejects.toThrow('to the host of the ledger alone');
});

it('a line that was cut in the midst of a round and is back is a trouble no more, though nothing lacks', async () => {
  await opened();
  const taker = kept.takerFor('K');
  const cut = { stream: Readable.from([Buffer.from('half')]), done: Promise.reject(new Error('cut')), end: () => {} };
  cut.done.catch(() => {});
  await expect(taker.take(round, cut, [])).rejects.toThrow();
  expect(seen?.problem).toEqual(expect.any(String));
  await taker.held('hot');
  await expect.poll(() => seen?.problem, { timeout: 8000 }).toBe(null);
});

it('copies of a GitLab that is gone are named with size and with what deletes them, those of the present one are not', () => {
  const home = join(folder, 'a home');
  const put = (data: string, kind: 'image' | 'subvolume'): string => {
    const path = join(home, 'gitlab-copies', data);
    mkdirSync(join(path, 'mounted'), { recursive: true });
    const claim = { mesh: 'm', data, kind, state: 'made', fsid: null, reserveBytes: 0 };
    writeFileSync(join(path, 'autogit-place.json'), JSON.stringify(claim));
    return path;
  };
  const [image, subvolume] = [put('gone1234', 'image'), put('gone5678', 'subvolume')];
  writeFileSync(join(image, 'gitlab.img'), Buffer.alloc(3 << 20, 'x'));
  put(ledger.gitlab.hosted!.data, 'image');
  mkdirSync(join(home, 'gitlab-copies', 'somebody-s'));
  const lines = leftLines(home, hostingOf(ledger));
  expect(lines.map(({ sentence }) => sentence)).toEqual([
    expect.stringContaining(`${image}, 3 MiB: all of it`),
    expect.stringContaining(`${subvolume}: all of it`),
  ]);
  // As it is typed, less what only root and btrfs can do.
  const command = lines[0]!.fix!.replace('sudo ', '').replace('chattr -i', 'test -d');
  execFileSync('sh', ['-c', command]);
  expect([existsSync(image), existsSync(subvolume)]).toEqual([false, true]);
  expect(leftLines(join(folder, 'nowhere'), null)).toEqual([]);
});

it('data that stay when their GitLab ends are named on its machine until they are deleted, or taken up again', () => {
  const home = join(folder, 'a host');
  mkdirSync(home);
  const place = (path: string, data: string): string => {
    mkdirSync(join(path, 'mounted'), { recursive: true });
    const claim = { mesh: 'm', data, kind: 'image', state: 'made', fsid: null, reserveBytes: 0 };
    writeFileSync(join(path, 'autogit-place.json'), JSON.stringify(claim));
    return path;
  };
  const [own, other] = [place(join(home, 'gitlab'), 'first123'), place(join(folder, 'another disk'), 'second12')];
  const { hosted } = ledger.gitlab;
  for (const path of [own, other, other, own]) {
    const memory = new HostingMemory(home, { warn: () => undefined });
    memory.write('first123', {});
    memory.forget(path);
    expect(memory.isThere).toBe(false);
  }
  const lines = leftLines(home, null);
  expect(lines).toMatchObject([
    { severity: 'info', sentence: expect.stringContaining(`lie in ${own}: gitlab deploy takes them up again`) },
    { code: 'gitlab-data-left', sentence: expect.stringContaining(`${other}: gitlab deploy --data takes them up`) },
  ]);
  // Deployed on them again they are nobody's to delete; deleted they are no more.
  expect(leftLines(home, { ...hosted!, host: 'K', epoch: 2, data: 'second12' })).toHaveLength(1);
  execFileSync('sh', ['-c', lines[1]!.fix!.replace('sudo ', '').replace('chattr -i', 'test -d')]);
  expect([existsSync(other), leftLines(home, null)]).toMatchObject([
    false,
    [{ sentence: expect.stringContaining(own) }],
  ]);
  // Deleted with its data there is nothing to name.
  const memory = new HostingMemory(home, { warn: () => undefined });
  memory.write('third123', {});
  memory.forget();
  expect(leftLines(home, null)).toHaveLength(1);
});
