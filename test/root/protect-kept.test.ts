import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { KeptSnapshots } from '../../node/hosting/protect/kept-snapshots.ts';
import { ProtectHistory } from '../../node/hosting/protect/protect-history.ts';
import { PlaceRig, sh } from './data-place-rig.ts';
import { about } from './vault-rig.ts';

/** Snapshots beside the data of a GitLab that a person runs, on a real btrfs of 60 GiB, of which little is ever written. */
const rig = new PlaceRig();
const minute = 60_000;
let disk: string;
let nowMs: number;
let history: ProtectHistory;
const said: string[] = [];

beforeEach(() => {
  disk = join(rig.folder, 'disk');
  mkdirSync(disk);
  sh(`truncate -s 60G ${disk}.img && mkfs.btrfs -q ${disk}.img && mount -o loop ${disk}.img ${disk}`);
  sh(
    `btrfs subvolume create ${disk}/data && mkdir -m 775 ${disk}/config && echo '{}' > ${disk}/config/gitlab-secrets.json`,
  );
  nowMs = 1_000_000;
  history = anew();
});
afterEach(() => history.stop());

const anew = (): ProtectHistory =>
  new ProtectHistory({ clock: { bootMs: () => nowMs }, log: { info: () => {}, warn: (text) => void said.push(text) } });
const of = (isRunning = true) => ({
  ...{ config: join(disk, 'config'), data: join(disk, 'data'), subvolume: join(disk, 'data') },
  ...{ folder: join(disk, '.kept'), isRunning },
});
const write = (text: string): void => writeFileSync(join(disk, 'data/row'), text);
const kept = () => new KeptSnapshots(join(disk, '.kept'));
/** So much later by the machine's clock; whatever is due then has ended. */
async function later(ms: number, isRunning = true): Promise<void> {
  nowMs += ms;
  history.look(of(isRunning), { ...about, at: nowMs });
  await history.stop();
  await sleep(0);
}

it('one each ten minutes while GitLab runs, of data and configuration; an agent that starts goes on with them', async () => {
  write('of the first');
  await later(0);
  write('of the second');
  for (const ms of [minute, 9 * minute, minute]) await later(ms);
  const rows = (await kept().list()).map((one) => readFileSync(join(one.snapshot, 'row'), 'utf8'));
  expect(rows).toEqual(['of the first', 'of the second']);
  const [first] = await kept().list();
  expect(readFileSync(join(first!.config, 'gitlab-secrets.json'), 'utf8').trim()).toBe('{}');
  expect(() => writeFileSync(join(first!.snapshot, 'row'), 'changed')).toThrow(/EROFS/);
  expect(history.seen()).toMatchObject({ kept: { snapshots: 2, oldest: 1_000_000, problem: null } });
  // It stands still: nothing changes.
  await later(20 * minute, false);
  expect(await kept().list()).toHaveLength(2);
  history = anew();
  await later(10 * minute);
  expect((await kept().list()).map(({ name }) => name.number)).toEqual([1, 2, 3]);
});

it('older ones go by the ladder, and what a backup reads stays; half of one that an agent left goes', async () => {
  for (let at = 0; at < 15; at++) await later(10 * minute);
  // Of an hour all, before that one an hour.
  const whole = await kept().list();
  expect(whole.length).toBeLessThan(15);
  expect(whole.length).toBeGreaterThanOrEqual(7);
  const source = history.source(of(), { ...about, at: nowMs }, join(rig.folder, 'tree'));
  const { around, folder, paths } = await source.take();
  const read = (await kept().list()).at(-1)!;
  expect(paths?.filter((path) => !existsSync(join(folder, path)))).toEqual([]);
  expect(around?.join(' ')).toContain(read.snapshot);
  for (let at = 0; at < 10; at++) await later(60 * minute);
  expect(existsSync(read.snapshot)).toBe(true);
  await source.drop();
  rmSync(join(disk, '.kept/0-1-1'), { recursive: true, force: true });
  mkdirSync(join(disk, '.kept/0-1-99'));
  sh(`btrfs subvolume snapshot -r ${disk}/data ${disk}/.kept/0-1-99/data`);
  await later(10 * minute);
  expect(readdirSync(join(disk, '.kept'))).not.toContain('0-1-99');
});

it("the owner's room goes before them: older ones go step by step, at last all, and it is said", {
  timeout: 60_000,
}, async () => {
  for (let at = 0; at < 9; at++) await later(10 * minute);
  const before = (await kept().list()).length;
  sh(`fallocate -l 56G ${disk}/film`);
  await later(10 * minute);
  expect(history.seen().kept?.problem).toMatch(
    /free, and 5\.\d+ GiB stay for the machine's owner|stay for the machine's owner/,
  );
  expect(said.join('\n')).toContain('no snapshot of GitLab is kept');
  expect(await history.hasRoom(of())).toBe(false);
  // Looked at each minute while it is short.
  for (let at = 0; at < 4; at++) await later(minute);
  expect((await kept().list()).length).toBeLessThan(before);
  expect(await kept().list()).toEqual([]);
  rmSync(join(disk, 'film'));
  sh(`sync -f ${disk}`);
  await later(minute);
  expect(history.seen()).toMatchObject({ kept: { snapshots: 1, problem: null } });
});
