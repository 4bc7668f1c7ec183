import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { bin } from './rig.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));

/**
 * The oldest Node that we promise, and the newest of each LTS line since: real ones from the registry, pinned. In pairs, so
 * that two cores are enough for six agents each time.
 */
const pairs = [
  ['20.19.0', '22.23.3'],
  ['24.21.0', '26.12.1'],
] as const;

/** Kept between runs: each is 100 MB. */
async function nodeOf(version: string): Promise<string> {
  const folder = join(root, '.tmp', 'node', version);
  const node = join(folder, 'node_modules', `node-linux-${process.arch}`, 'bin', 'node');
  if (!existsSync(node)) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'package.json'), '{}');
    const wanted = `node-linux-${process.arch}@${version}`;
    await run('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--prefix', folder, wanted]);
  }
  return node;
}

it('begins with the oldest that package.json promises', () => {
  const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { engines: { node: string } };
  expect(`>=${pairs[0][0]}`).toBe(`${engines.node}.0`);
});

it.each(pairs)(
  'the demo runs on Node %s and %s',
  async (...versions) => {
    const demo = async (version: string): Promise<string | undefined> => {
      const node = await nodeOf(version);
      expect(execFileSync(node, ['--version'], { encoding: 'utf8' }).trim()).toBe(`v${version}`);
      const { stdout } = await run(node, [bin, 'demo'], { maxBuffer: 16 << 20 });
      return stdout.trimEnd().split('\n').at(-1);
    };
    const passed = expect.stringMatching(/^demo: \d+ jobs passed, 0 lost; leader kang killed/);
    expect(await Promise.all(versions.map(demo))).toEqual([passed, passed]);
  },
  240_000,
);
