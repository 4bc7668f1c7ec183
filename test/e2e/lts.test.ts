import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { bin } from './rig.ts';

/** The current LTS line beside the oldest Node that we support: a real Node from the registry, pinned. */
const lts = '26.10.0';
const folder = fileURLToPath(new URL('../../.tmp/lts', import.meta.url));
const node = `${folder}/node_modules/node-linux-${process.arch}/bin/node`;

it('the demo runs on the current LTS', async () => {
  if (!existsSync(node)) {
    mkdirSync(folder, { recursive: true });
    writeFileSync(`${folder}/package.json`, '{}');
    const wanted = `node-linux-${process.arch}@${lts}`;
    execFileSync('npm', ['install', '--no-save', '--no-audit', '--no-fund', '--prefix', folder, wanted], {
      stdio: 'ignore',
    });
  }
  expect(execFileSync(node, ['--version'], { encoding: 'utf8' }).trim()).toBe(`v${lts}`);
  const { stdout } = await promisify(execFile)(node, [bin, 'demo'], { maxBuffer: 16 << 20 });
  expect(stdout.trimEnd().split('\n').at(-1)).toMatch(/^demo: \d+ jobs passed, 0 lost; leader kang killed/);
}, 240_000);
