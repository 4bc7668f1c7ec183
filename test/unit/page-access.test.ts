import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { PageAccess } from '../../node/page/page-access.ts';
import { pageLimits } from '../../node/page/page-limits.ts';

let dir: string;
let now: number;
let ended: string[];
let warned: string[];
const opened = (): PageAccess =>
  new PageAccess({
    file: join(dir, 'page.json'),
    wallMs: () => now,
    onEnd: (name) => void ended.push(name),
    warn: (sentence) => void warned.push(sentence),
  });
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'autogit-access-'));
  [now, ended, warned] = [1_000_000, [], []];
});
afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

it('links, sessions and keys are bounded: the oldest link and session give way, a key too many is refused', () => {
  const hash = 'h'.repeat(43);
  const many = <T>(count: number, make: (index: number) => T): T[] =>
    Array.from({ length: count }, (_, index) => make(index));
  const ofAll = { role: 'viewer', hash, madeAt: 0 };
  const kept = {
    version: 1,
    keys: many(pageLimits.keys, (index) => ({ ...ofAll, name: `key-${index + 1}` })),
    sessions: many(pageLimits.sessions, (index) => ({
      ...ofAll,
      name: `page-${index + 1}`,
      id: hash,
      until: now + 60_000,
    })),
  };
  writeFileSync(join(dir, 'page.json'), JSON.stringify(kept));
  const access = opened();
  const first = access.link('viewer', 60_000);
  for (let one = 0; one < pageLimits.links; one++) access.link('viewer', 60_000);
  expect(access.enter(first.code)).toBeNull();
  expect(access.enter(access.link('viewer', 60_000).code)?.caller.name).toBe(`page-${pageLimits.sessions + 1}`);
  expect(ended).toEqual(['page-1']);
  expect(() => access.makeKey('viewer', null)).toThrow(/64 keys/);
  expect(opened().rows().length).toBe(pageLimits.sessions + pageLimits.keys);
});

it('a name is used once, and said where it is not', () => {
  const access = opened();
  expect(access.makeKey('operator', 'home-page').name).toBe('home-page');
  expect(() => access.makeKey('viewer', 'home-page')).toThrow(/there is a key or session called home-page/);
  expect(() => access.remove('nobody')).toThrow(/no key and no session is called nobody/);
  access.remove('home-page');
  expect([access.rows(), ended]).toEqual([[], ['home-page']]);
});

it('sessions that are over are not listed, and nobody is called as one that was let in before: also not after a restart', () => {
  const access = opened();
  const entered = (by = access) => by.enter(by.link('owner', 60_000).code)?.caller.name;
  expect(entered()).toBe('page-1');
  now += 60_001;
  expect(access.rows()).toEqual([]);
  expect(entered()).toBe('page-2');
  access.remove('page-2');
  const { name } = access.makeKey('viewer', null);
  access.remove(name);
  const again = opened();
  expect([entered(again), entered(again), again.makeKey('viewer', null).name]).toEqual(['page-3', 'page-4', 'key-2']);
});

it('a file of an earlier version is read, and its names are not given again', () => {
  const hash = 'h'.repeat(43);
  const key = { name: 'key-1', role: 'viewer', hash, madeAt: 0 };
  writeFileSync(join(dir, 'page.json'), JSON.stringify({ version: 1, keys: [key], sessions: [] }));
  expect(opened().makeKey('viewer', null).name).toBe('key-2');
});

it('a file that is damaged is moved away, said, and opens nothing', () => {
  opened().makeKey('owner', null);
  for (const text of [
    '',
    '{',
    '{"version":1,"keys":[{"name":"key-1","role":"root","hash":"x","madeAt":0}],"sessions":[]}',
  ]) {
    writeFileSync(join(dir, 'page.json'), text);
    expect(opened().rows()).toEqual([]);
    expect(readFileSync(join(dir, 'page.json.damaged'), 'utf8')).toBe(text);
  }
  expect(warned.length).toBe(3);
  expect(existsSync(join(dir, 'page.json'))).toBe(false);
});

it('what could not be written down was not made: no key that a restart would forget', () => {
  const access = opened();
  rmSync(dir, { recursive: true, force: true });
  expect(() => access.makeKey('viewer', 'lost')).toThrow(/ENOENT/);
  expect(access.rows()).toEqual([]);
});

it('a link whose session cannot be written down is good for another try', () => {
  const access = opened();
  const { code } = access.link('owner', 60_000);
  rmSync(dir, { recursive: true });
  expect(() => access.enter(code)).toThrow(/ENOENT/);
  mkdirSync(dir);
  const entered = access.enter(code);
  expect(opened().session(entered?.id ?? '', [entered?.secret ?? ''])?.role).toBe('owner');
  expect(access.enter(code)).toBeNull();
});
