import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FencedRequests } from '../../node/agent/fenced-requests.ts';
import { exclusiveIn, FencedData, writtenWords } from '../../node/hosting/move/fenced-data.ts';
import { systemTools } from '../../node/hosting/system-tools.ts';
import { aboutFile, dropFolder, lookedFile, tookFile } from '../../node/hosting/vault/vault-tree.ts';
import { isFencedName } from '../../protocol/fenced.ts';
import { StatusSnapshot } from '../../protocol/status.ts';
import { snapshot } from '../../scheduler/snapshot.ts';
import { copiesLab } from './copies-lab.ts';
import { viewOf } from './snapshot-lab.ts';

let tree: string;
beforeEach(() => {
  tree = mkdtempSync(join(tmpdir(), 't-fenced-'));
});
afterEach(() => rmSync(tree, { recursive: true, force: true }));

const base = { era: 0, epoch: 1, number: 7 };
const copies = { bases: { '2': base, '3': { era: 0, epoch: 2, number: 1 } } } as never;

/** What GitLab wrote last, in seconds of 1970. */
function fenced(name: string, seconds: number): void {
  const wal = join(tree, name, 'live/data/postgresql/data/pg_wal');
  mkdirSync(wal, { recursive: true });
  mkdirSync(join(tree, name, 'bulk'));
  writeFileSync(join(wal, '000000010000000000000001'), '');
  utimesSync(join(wal, '000000010000000000000001'), seconds, seconds);
  utimesSync(join(tree, name, 'live/data/postgresql/data'), 1, 1);
}

function round(wallMs: number, text = '0-1-7'): void {
  mkdirSync(join(tree, 'copies/hot/rounds', text, 'hot'), { recursive: true });
  mkdirSync(join(tree, 'copies/hot/markers'), { recursive: true });
  const note = { form: 1, name: text, part: 'hot', wallMs, parent: null, uuid: 'u', owner: { mesh: 'm', data: 'd' } };
  writeFileSync(join(tree, 'copies/hot/markers', `${text}.json`), JSON.stringify(note));
}

const open = () => ({
  ...{ hosting: { data: 'd' } as never, place: { kind: 'subvolume' as const, path: tree }, isHost: false },
});
const kept = (more: Partial<ConstructorParameters<typeof FencedData>[0]> = {}): FencedData =>
  new FencedData({
    ...{ clock: { bootMs: () => 0, wallMs: () => 0 }, log: { info: () => undefined, warn: () => undefined } },
    ...{ tools: systemTools, wasBeside: () => false, met: () => [] },
    ...{ api: () => null, dropped: () => undefined, exclusive: async () => null, here: open, ...more },
  });

describe('what a machine served until another one took over', () => {
  it('has names of its own', () => {
    const names = [
      'fenced-1',
      'fenced-0',
      'fenced-12-2',
      'fenced-01',
      'fenced-1-0',
      'fenced-',
      'replaced-1',
      '../fenced-1',
    ];
    expect(names.map(isFencedName)).toEqual([true, true, true, false, false, false, false, false]);
  });

  it('is told in seconds of writes after the round with which the mesh went on, where that round is here', () => {
    fenced('fenced-1', 1000);
    expect(writtenWords(tree, 'fenced-1', { copies })).toContain(
      'how long it was written to here after that is not known',
    );
    round(1_000_000 - 4000);
    expect(writtenWords(tree, 'fenced-1', { copies })).toBe(
      'the database or Redis was written to here for 4 s more after round 0-1-7, with which the mesh went on: rows of that time are in fenced-1 alone',
    );
    // Put aside a second time, by a machine whose agent was ended between.
    fenced('fenced-1-2', 900);
    expect(writtenWords(tree, 'fenced-1-2', { copies })).toContain(
      'neither the database nor Redis was written to here after round 0-1-7',
    );
    expect(writtenWords(tree, 'fenced-9', { copies })).toBe(null);
  });

  it('is no part of what this machine says while its place is not open, and nothing of it can be asked then', async () => {
    const data = kept({ here: () => ({ problem: 'its place for copies is not open yet' }) });
    expect(data.seen()).toEqual({});
    await expect(data.drop('fenced-1')).rejects.toThrow('its place for copies is not open yet');
    await expect(data.compare('fenced-1', 0)).rejects.toThrow('its place for copies is not open yet');
    expect(() => data.bring('fenced-1', 'home/blog')).toThrow('its place for copies is not open yet');
  });

  it('what btrfs says of its room is read, and what it does not say is not made up', () => {
    const said =
      '     Total   Exclusive  Set shared  Filename\n   2183168      712704     1470464  /srv/gitlab/fenced-1\n';
    expect(exclusiveIn(said)).toBe(712_704);
    expect(exclusiveIn('')).toBe(null);
  });

  it('nothing that looks at it outlives the opening of its place', async () => {
    fenced('fenced-1', 1000);
    let wasEnded = false;
    const data = kept({
      exclusive: (_folder, signal) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => {
            wasEnded = true;
            reject(signal.reason as Error);
          });
        }),
    });
    expect(data.seen()).toEqual({ fenced: [{ name: 'fenced-1', at: 1_000_000, bytes: null }] });
    await data.end();
    expect(wasEnded).toBe(true);
  });

  it('says at once when each was written to, while the first is measured yet: pushes are refused by that', async () => {
    fenced('fenced-1', 1000);
    fenced('fenced-2', 2000);
    const data = kept({
      exclusive: (_folder, signal) => new Promise((_, reject) => signal.addEventListener('abort', reject)),
    });
    expect(data.seen().fenced?.map(({ at }) => at)).toEqual([1_000_000, 2_000_000]);
    // Another one comes meanwhile.
    fenced('fenced-3', 3000);
    expect(data.seen().fenced?.map(({ at }) => at)).toEqual([1_000_000, 2_000_000, 3_000_000]);
    await data.end();
  });

  it('is looked at once somebody had it compared, for whichever agent comes next', async () => {
    fenced('fenced-1', 1000);
    for (const part of ['live', 'bulk']) mkdirSync(join(tree, part), { recursive: true });
    const here = () => ({ ...open(), isHost: true });
    const data = kept({ here });
    expect(data.seen().fenced).toMatchObject([{ name: 'fenced-1' }]);
    expect(data.seen().fenced?.[0]).not.toHaveProperty('looked');
    expect(await data.compare('fenced-1', 0)).toMatchObject({ total: 0 });
    expect(data.seen().fenced).toMatchObject([{ name: 'fenced-1', looked: true }]);
    await data.end();
    expect(kept({ here }).seen().fenced).toMatchObject([{ name: 'fenced-1', looked: true }]);
  });

  it('of two of the same name that one is meant of which a person was told, or on whose machine it is typed', async () => {
    const asked: string[] = [];
    let nodes = ['B', 'C'];
    const hosted = { sides: { open: [{ node: 'D', name: 'fenced-7' }], forks: [] } };
    const lines = new FencedRequests({
      ...{
        self: 'A',
        nodeNamed: (name) => name.toUpperCase(),
        ledger: () => ({ nodes: {}, gitlab: { hosted } }) as never,
      },
      fenced: () => nodes.map((node) => ({ node, seen: { name: 'fenced-1003', at: 0, bytes: 5 } })),
      ask: async (node) => {
        asked.push(node);
        return { kind: 'said', because: 'so it is' };
      },
    });
    await expect(lines.drop('fenced-1003')).rejects.toThrow(/ and .* keep a fenced-1003 each/);
    await lines.drop('fenced-1003', 'c');
    // Somebody else has let go of it since the question was asked.
    nodes = ['B'];
    await expect(lines.drop('fenced-1003', 'c')).rejects.toThrow('c keeps no fenced-1003');
    nodes = ['B', 'A'];
    await lines.drop('fenced-1003');
    await expect(lines.drop('fenced-7')).rejects.toMatchObject({
      message: 'D keeps fenced-7, and does not say so now',
      hint: 'start D, then the same again; where it never comes back: autogit-node forget D',
    });
    expect(asked).toEqual(['C', 'A']);
  });

  it('says by its own disk whether it took more than the mesh went on with, once it was served beside', async () => {
    const git = (...args: string[]): string => execFileSync('git', args, { encoding: 'utf8' });
    const one = 'data/git-data/repositories/@hashed/ab/cd/ab.git';
    const hosting = { data: 'd', copies } as never;
    const here = () => ({ ...open(), hosting });
    const told = (data: FencedData, name: string) => data.seen().fenced?.find((seen) => seen.name === name)?.took;
    const settled = async (data: FencedData, name: string) => {
      await expect.poll(() => told(data, name), { timeout: 8000 }).not.toBe('looking');
      return told(data, name);
    };
    fenced('fenced-1', 1002);
    const beside = kept({ here, wasBeside: () => true, exclusive: async () => null });
    // The round with which the mesh went on is not here.
    expect(told(beside, 'fenced-1')).toBe(undefined);
    let now = 0;
    const waits = kept({ here, wasBeside: () => true, clock: { bootMs: () => now, wallMs: () => 0 } as never });
    expect(told(waits, 'fenced-1')).toBe(undefined);

    round(1_000_000);
    for (const part of ['hot', 'bulk']) mkdirSync(join(tree, `copies/${part}/markers`), { recursive: true });
    const bulk = { form: 1, name: '0-1-7', part: 'bulk', wallMs: 1_000_000, parent: null, uuid: 'v' };
    mkdirSync(join(tree, 'copies/bulk/rounds/0-1-7/bulk'), { recursive: true });
    writeFileSync(join(tree, 'copies/bulk/markers/0-1-7.json'), JSON.stringify(bulk));
    const base = join(tree, 'copies/hot/rounds/0-1-7/hot');
    git('init', '-q', '--bare', join(base, one));
    fenced('fenced-1-2', 1002);
    for (const name of ['fenced-1', 'fenced-1-2']) git('init', '-q', '--bare', join(tree, name, 'live', one));

    // It came back here meanwhile: that is looked at once a minute, not at the agent's next start.
    expect(told(waits, 'fenced-1')).toBe(undefined);
    now = 60_000;
    expect(told(waits, 'fenced-1')).toBe('looking');
    await waits.end();
    rmSync(join(tree, 'fenced-1', tookFile), { force: true });

    // A push in its last second.
    writeFileSync(join(tree, 'fenced-1-2/live', one, 'refs/heads/main'), `${'a'.repeat(40)}\n`);
    const died = kept({ here, wasBeside: () => true, exclusive: async () => null });
    expect(told(died, 'fenced-1')).toBe('looking');
    expect(await settled(died, 'fenced-1')).toBe('none');
    await died.end();
    const pushed = kept({ here, wasBeside: () => true, exclusive: async () => null });
    expect(await settled(pushed, 'fenced-1-2')).toBe('more');
    await pushed.end();
    // What was found stays so, whatever is thinned meanwhile; what is not of two sides is not looked into.
    rmSync(join(tree, 'copies/hot/rounds/0-1-7'), { recursive: true });
    const later = kept({ here, wasBeside: () => true, exclusive: async () => null });
    expect([told(later, 'fenced-1'), told(later, 'fenced-1-2')]).toEqual(['none', 'more']);
    expect(told(kept({ here, exclusive: async () => null }), 'fenced-1')).toBe(undefined);
    // It served on for a minute after a round that is here again, as its own clock says.
    fenced('fenced-2', 1060);
    round(1_000_000, '0-2-1');
    expect(told(later, 'fenced-2')).toBe('more');
    await later.end();
  });

  it('says what is gone of it that the ledger calls not looked at, while its place is open', () => {
    const met = () => ['fenced-1', 'fenced-2'];
    expect(kept({ met }).seen()).toEqual({});
    mkdirSync(join(tree, 'copies'));
    expect(kept({ met }).seen()).toEqual({ unkept: met() });
    fenced('fenced-1', 1000);
    expect(kept({ met, exclusive: async () => null }).seen()).toMatchObject({
      fenced: [{ name: 'fenced-1' }],
      unkept: ['fenced-2'],
    });
    expect(kept({ met, here: () => ({ problem: 'not open' }) }).seen()).toEqual({});
  });

  it('is never compared with a later round of the side that it is of', async () => {
    fenced('fenced-2', 1000);
    for (const name of ['0-2-1', '0-2-9']) {
      round(1_000_000, name);
      mkdirSync(join(tree, 'copies/bulk/rounds', name, 'bulk'), { recursive: true });
      mkdirSync(join(tree, 'copies/bulk/markers'), { recursive: true });
      const marker = { form: 1, name, part: 'bulk', wallMs: 1_000_000, parent: null, uuid: 'v' };
      writeFileSync(join(tree, 'copies/bulk/markers', `${name}.json`), JSON.stringify(marker));
    }
    const here = () => ({ ...open(), hosting: { data: 'd', epoch: 3, copies } as never });
    const clock = { bootMs: () => 0, wallMs: () => 1_840_000 };
    const said = await kept({ here, clock, exclusive: async () => null }).compare('fenced-2', 0);
    expect(said.notes.join()).toContain('it is compared with round 0-2-1, with which the mesh went on');
    // Of what serves now the newest here, and how old that is: rounds come no more once this machine is behind.
    const next = () => ({ ...open(), hosting: { data: 'd', epoch: 2, copies } as never });
    const compared = await kept({ here: next, clock, exclusive: async () => null }).compare('fenced-2', 0);
    expect(compared.notes).toContain(
      'what serves now is looked at in its round 0-2-9 of 14 min ago, the newest that is here',
    );
  });

  it('is told to everybody by the machine that keeps it, of this GitLab alone', () => {
    const lab = copiesLab(['desktop-1'], {}, 'http://g');
    lab.run(5000);
    const view = viewOf(lab, 'laptop');
    const heard = view.jobs.reports['desktop-1']!;
    const data = lab.committed.gitlab.hosted!.data;
    const seen = { name: 'fenced-1', at: 1_764_386_655_000, bytes: 712_704 };
    const standby = { data, newest: null, freeBytes: 0, problem: null, fenced: [seen] };
    const told = (over: object) => {
      const report = { ...heard.report, standby: { ...standby, ...over } };
      const reports = { ...view.jobs.reports, 'desktop-1': { ...heard, report } };
      return StatusSnapshot.parse(snapshot({ ...view, jobs: { ...view.jobs, reports } })).gitlab.fenced;
    };
    expect(told({})).toEqual([
      {
        ...{ node: 'desktop-1', name: 'fenced-1', at: '2025-11-29T03:24:15.000Z', bytes: 712_704 },
        doing: null,
        brought: null,
      },
    ]);
    expect(told({ data: 'another' })).toBe(undefined);
    expect(told({ fenced: undefined })).toBe(undefined);
  });
});

it('what was served goes whole on a word, with all that was noted beside it and what an agent left of such a note', async () => {
  const folder = join(tree, 'fenced-2');
  mkdirSync(folder);
  for (const file of [aboutFile, lookedFile, tookFile])
    for (const name of [file, `${file}.new`]) writeFileSync(join(folder, name), '{}');
  await dropFolder(folder, systemTools);
  expect(existsSync(folder)).toBe(false);
});
