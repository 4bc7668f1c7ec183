import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { finishSwitch } from '../../node/agent/switching.ts';
import { places } from '../../node/store/home.ts';
import { keepNothing } from '../../node/store/removal.ts';

/** What a switch to another mesh leaves where it is cut off. */
let home = '';
const folders = () => ['', '.next', '.left'].map((end) => `${places(home).store}${end}`);
const there = () => folders().map((folder) => existsSync(join(folder, 'CURRENT')));

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'autogit-switch-'));
  for (const folder of folders()) {
    mkdirSync(folder);
    writeFileSync(join(folder, 'CURRENT'), 'of a mesh');
  }
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

it('the store of the mesh of before goes, also where the switch was cut off at its very end', async () => {
  rmSync(folders()[1] as string, { recursive: true });
  await finishSwitch(home);
  expect(there()).toEqual([true, false, false]);
});

it('what there is of a switch that was cut off between its two renames stays until it is finished', async () => {
  rmSync(folders()[0] as string, { recursive: true });
  rmSync(folders()[1] as string, { recursive: true });
  await finishSwitch(home);
  expect(there()).toEqual([false, false, true]);
});

it('a machine that was removed keeps no store, whatever it was in the midst of', () => {
  keepNothing(home);
  expect(there()).toEqual([false, false, false]);
});
