import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';

const template = fileURLToPath(new URL('../../deploy/bin.cjs', import.meta.url));
/** Says what it was loaded as, and lives for as long as the cache needs. */
const agent = `exports.main = ([ms]) => { console.log(__filename.endsWith('agent.cjs'), require('node:path').sep, 'ß'); setTimeout(() => {}, +ms); };`;
let folder: string;
let bin: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'autogit-cache-'));
  bin = join(folder, 'autogit-node.cjs');
  writeFileSync(bin, readFileSync(template, 'utf8').replace('@LEAST@', '20.19'));
  writeFileSync(join(folder, 'agent.cjs'), agent);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const cache = (): string => join(folder, 'home', 'autogit-node');
const kept = (): string[] => (existsSync(cache()) ? readdirSync(cache()) : []);
const start = (ms: number, env: Record<string, string> = {}): string =>
  execFileSync(process.execPath, [bin, String(ms)], {
    encoding: 'utf8',
    env: { ...process.env, XDG_CACHE_HOME: join(folder, 'home'), ...env },
  }).trim();

it('keeps compiled code for the next start, unless it was short or this is switched off', () => {
  expect(start(0)).toBe('true / ß');
  expect(start(2500, { NODE_DISABLE_COMPILE_CACHE: '1' })).toBe('true / ß');
  expect(kept()).toEqual([]);
  expect(start(2500)).toBe('true / ß');
  const [name = ''] = kept();
  expect(name).toMatch(new RegExp(`^${process.version}-${process.arch}-[0-9a-f]+-[0-9a-f]+\\.code$`));
  const before = readFileSync(join(cache(), name));
  expect(start(2500)).toBe('true / ß');
  expect(readFileSync(join(cache(), name)).equals(before)).toBe(true);
});

it('takes no code that is torn, or that others may write', () => {
  // V8 looks at the length of the source only: what this leaves behind would be run in place of the agent.
  writeFileSync(join(folder, 'agent.cjs'), agent.replace('ß', 'X'));
  start(2500);
  const [foreign = ''] = kept();
  writeFileSync(join(folder, 'agent.cjs'), agent);
  start(2500);
  const name = kept().find((one) => one !== foreign) ?? '';
  const file = join(cache(), name);
  cpSync(join(cache(), foreign), file);
  expect(start(0)).toBe('true / X');
  for (const [path, open, closed] of [
    [cache(), 0o777, 0o700],
    [file, 0o666, 0o600],
  ] as const) {
    chmodSync(path, open);
    expect(start(0)).toBe('true / ß');
    chmodSync(path, closed);
  }
  writeFileSync(file, readFileSync(file).subarray(0, 300));
  expect(start(2500)).toBe('true / ß');
  expect(readFileSync(file).byteLength).toBeGreaterThan(300);
});

it('keeps the four newest builds', () => {
  mkdirSync(cache(), { recursive: true, mode: 0o700 });
  for (const build of ['1', '2', '3', '4', '5']) {
    writeFileSync(join(cache(), build), '');
    utimesSync(join(cache(), build), Number(build), Number(build));
  }
  start(2500);
  expect(kept()).toHaveLength(4);
  expect(kept()).toEqual(expect.arrayContaining(['3', '4', '5']));
});

it('a copy in another place is named by its own path in a stack', () => {
  const tell = `exports.main = ([ms]) => { console.log(new Error('x').stack.split('\\n')[1]); setTimeout(() => {}, +ms); };`;
  writeFileSync(join(folder, 'agent.cjs'), tell);
  expect(start(2500)).toContain(`(${join(folder, 'agent.cjs')}:`);
  expect(kept()).toHaveLength(1);
  const other = join(folder, 'other');
  mkdirSync(other);
  for (const name of ['autogit-node.cjs', 'agent.cjs']) cpSync(join(folder, name), join(other, name));
  bin = join(other, 'autogit-node.cjs');
  expect(start(0)).toContain(`(${join(other, 'agent.cjs')}:`);
});
