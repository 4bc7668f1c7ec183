import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { leftLines } from '../../node/agent/copies-left.ts';
import { HostingMemory } from '../../node/hosting/hosting-memory.ts';
import { isOnTrial, wantedBase } from '../../node/hosting/move/move-steps.ts';
import {
  copiesAt,
  fencedAt,
  forgetCopiesAt,
  noteCopiesAt,
  noteFenced,
  unservedAt,
} from '../../node/hosting/replica/copies-note.ts';
import { LeftCopies } from '../../node/hosting/replica/left-copies.ts';
import type { Hosting } from '../../scheduler/hosting/hosted-edits.ts';
import { hostedGitlab } from '../fixtures/hosted-gitlab.ts';

const data = 'data-of-a-test';
const copies = (agreed: string[], bases: NonNullable<Hosting['copies']>['bases'] = {}) => ({
  ...{ agreed, standbys: [], bases },
  set: { version: 1, members: [], last: null, boot: null },
});
const hosting = (host: string, said: Partial<Hosting> = {}): Hosting => ({
  ...hostedGitlab({ data, place: { kind: 'image', path: '/srv/gitlab' } }),
  ...{ host, epoch: 4, ...said },
});

describe('of which round the data of an epoch are made', () => {
  const round = (epoch: number) => ({ era: 0, epoch, number: 31 });

  it('is the one of another epoch that the ledger names, unless they are made', () => {
    const moved = hosting('B', { copies: copies([], { 3: round(3), 4: round(3) }) });
    expect([wantedBase(moved, null), wantedBase(moved, 3), wantedBase(moved, 4)]).toEqual([round(3), round(3), null]);
  });

  it('is none where the epoch began with what its host had: data that are gone are gone, and never of an earlier hour', () => {
    expect(wantedBase(hosting('K', { copies: copies([], { 4: round(4) }) }), null)).toBe(null);
    expect(wantedBase(hosting('K', { copies: copies([], { 3: round(3) }) }), null)).toBe(null);
    expect(wantedBase(hosting('K'), null)).toBe(null);
  });

  it('is on trial at the machine to which it moves, until it stands', () => {
    const at = { place: { kind: 'image' as const, path: '/x' }, hostname: 'b' };
    const move = { from: 'K', to: 'B', there: at, back: at, since: 0, because: 'asked' };
    expect([hosting('K', { move }), hosting('B', { move }), hosting('B')].map(isOnTrial)).toEqual([false, true, false]);
  });
});

describe('where the copies of a machine lie that ran GitLab', () => {
  let home: string;
  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 't-moved-'));
  });
  afterEach(() => rmSync(home, { recursive: true, force: true }));

  const placed = (path: string): void => {
    mkdirSync(path, { recursive: true });
    const claim = { mesh: 'm', data, kind: 'image', state: 'made', fsid: null, reserveBytes: 0 };
    writeFileSync(join(path, 'autogit-place.json'), JSON.stringify(claim));
  };

  it('is noted on its disk, and a damaged note is no empty folder elsewhere', () => {
    const own = join(home, 'gitlab-copies', data);
    expect(copiesAt(home, data)).toEqual({ path: own, isNoted: false });
    noteCopiesAt(home, data, own, null);
    expect(copiesAt(home, data)).toEqual({ path: own, isNoted: true });
    noteCopiesAt(home, data, '/srv/gitlab', null);
    expect(copiesAt(home, data)).toEqual({ path: '/srv/gitlab', isNoted: true });
    noteFenced(home, data, ['fenced-3']);
    noteCopiesAt(home, data, '/srv/gitlab', 5);
    expect([fencedAt(home, data), unservedAt(home, data)]).toEqual([['fenced-3'], 5]);
    noteCopiesAt(home, data, '/srv/gitlab', null);
    expect([fencedAt(home, data), unservedAt(home, data)]).toEqual([['fenced-3'], null]);
    writeFileSync(`${own}.place`, '{"pa');
    expect(() => copiesAt(home, data)).toThrow(
      /is damaged, so where this machine has its copies of GitLab is not known/,
    );
    expect(leftLines(home, hosting('B'))).toMatchObject([{ fix: expect.stringContaining('"path":"/srv/gitlab"') }]);
    forgetCopiesAt(home, data);
    expect(copiesAt(home, data).path).toBe(own);
  });

  it('is said with what was served there and is kept, and with what deletes it', () => {
    const path = join(home, 'srv');
    placed(path);
    noteCopiesAt(home, data, path, null);
    noteFenced(home, data, ['fenced-3']);
    const [line, ...more] = leftLines(home, hosting('B'));
    expect(more).toEqual([]);
    expect(line).toMatchObject({
      code: 'gitlab-fenced',
      sentence: expect.stringContaining(`${path}/mounted/fenced-3`),
    });
    // Nobody has it mounted: then nothing is looked at, and nothing deleted.
    expect(line?.fix).toContain('gitlab copies add NAME');
    mkdirSync(join(path, 'mounted/fenced-3'), { recursive: true });
    expect(leftLines(home, hosting('B'))[0]?.fix).toMatch(
      /gitlab fenced drop fenced-3\): autogit-node gitlab diff fenced-3$/,
    );
    rmSync(join(path, 'mounted/fenced-3'), { recursive: true });
    // Uninstalled meanwhile: all of that place is what was left.
    expect(leftLines(home, null)).toMatchObject([
      { code: 'gitlab-copies-left', sentence: expect.stringContaining(path) },
    ]);
    noteFenced(home, data, []);
    expect(leftLines(home, hosting('B'))).toEqual([]);
  });

  it('is said to be data as long as they lie there, and copies once they are given up', () => {
    const path = join(home, 'srv');
    placed(path);
    const memory = new HostingMemory(home, { warn: () => undefined });
    memory.write(data, { hosting: hosting('K') });
    noteCopiesAt(home, data, path, null);
    memory.forget(path);
    expect(leftLines(home, null)).toMatchObject([{ code: 'gitlab-data-left' }]);
    noteFenced(home, data, []);
    expect(leftLines(home, null)).toMatchObject([{ code: 'gitlab-copies-left' }]);
    // It ran here again, and ended here.
    noteCopiesAt(home, data, path, null);
    expect(leftLines(home, null)).toMatchObject([{ code: 'gitlab-data-left' }]);
  });

  it('is deleted by no word that was said of copies of before, nor while it is in the hands of who ran it, nor with what is nowhere else', async () => {
    const path = join(home, 'srv');
    placed(path);
    const removed: string[] = [];
    const warned: string[] = [];
    let isHosted = false;
    const left = new LeftCopies({
      ...{
        self: 'K',
        home,
        ledger: () => ({ era: { counter: 1 }, nodes: { K: {} } }) as never,
        isHosted: () => isHosted,
      },
      log: { info: () => undefined, warn: (sentence) => void warned.push(sentence) },
      removePlace: async (_of, folder) => void removed.push(folder),
    });
    // It held copies, then ran GitLab itself, and was in nobody's agreement when another one took over.
    mkdirSync(join(home, 'gitlab-copies', data), { recursive: true });
    await left.clear(hosting('B', { copies: copies(['K']) }));
    await left.clear(hosting('K', { copies: copies(['B']) }));
    noteCopiesAt(home, data, path, null);
    await left.clear(hosting('B', { copies: copies([]) }));
    expect(removed).toEqual([]);
    // Agreed on again, and taken back: not before it is free, and not with what it served last.
    await left.clear(hosting('B', { copies: copies(['K']) }));
    // Its place could not be opened yet, so what it served is neither in a base nor kept beside.
    await left.clear(hosting('B', { copies: copies([]) }));
    expect([removed, warned.at(-1)]).toEqual([[], expect.stringContaining('what it took last may be nowhere else')]);
    noteFenced(home, data, ['fenced-3']);
    await left.clear(hosting('B', { copies: copies([]) }));
    expect([removed, warned.at(-1)]).toEqual([[], expect.stringContaining('fenced-3 in them was served here')]);
    noteFenced(home, data, []);
    isHosted = true;
    await left.clear(hosting('B', { copies: copies([]) }));
    expect(removed).toEqual([]);
    isHosted = false;
    await left.clear(hosting('B', { copies: copies([]) }));
    expect([removed, existsSync(join(home, 'gitlab-copies', `${data}.place`))]).toEqual([[path], false]);
  });

  it('stays where the mesh removes its machine: nobody has taken those copies back, also once it is let in again', async () => {
    const removed: string[] = [];
    const nodes: Record<string, object> = { B: {}, K: {} };
    const left = new LeftCopies({
      ...{ self: 'K', home, ledger: () => ({ era: { counter: 1 }, nodes }) as never, isHosted: () => false },
      log: { info: () => undefined, warn: () => undefined },
      removePlace: async (_of, folder) => void removed.push(folder),
    });
    const folder = join(home, 'gitlab-copies', data);
    mkdirSync(folder, { recursive: true });
    const forgotten = async (): Promise<void> => {
      await left.clear(hosting('B', { copies: copies(['K']) }));
      delete nodes.K;
    };
    const backAgain = async (): Promise<void> => {
      nodes.K = {};
      await left.clear(hosting('B', { copies: copies([]) }));
    };
    // By the ledger in which it is no more, and where that never came.
    await forgotten();
    await left.clear(hosting('B', { copies: copies([]) }));
    await backAgain();
    expect(removed).toEqual([]);
    await forgotten();
    left.removed();
    await backAgain();
    expect(removed).toEqual([]);
    await left.clear(hosting('B', { copies: copies(['K']) }));
    await left.clear(hosting('B', { copies: copies([]) }));
    expect(removed).toEqual([folder]);
  });

  it('is held by who runs GitLab there from its first word until it is forgotten, also where that cannot be read', () => {
    const log = { warn: () => undefined };
    const memory = new HostingMemory(home, log);
    expect(memory.mayHold(data)).toBe(false);
    memory.write(data, { hosting: hosting('K') });
    expect([memory.mayHold(data), memory.mayHold('another')]).toEqual([true, false]);
    for (const file of ['hosted-gitlab.json', 'hosted-gitlab.json.copy']) writeFileSync(join(home, file), '{"ha');
    const next = new HostingMemory(home, log);
    expect([next.mayHold(data), next.mayHold('another')]).toEqual([true, true]);
    next.forget();
    expect(next.mayHold(data)).toBe(false);
  });
});
