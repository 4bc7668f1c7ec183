import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import { executorContract } from '../contract/executor-contract.ts';
import { filesContract } from '../contract/executor-files.ts';

const home = mkdtempSync(join(tmpdir(), 'autogit-executor-'));
afterAll(() => rmSync(home, { recursive: true, force: true }));

executorContract('process, by signals', () => ({
  kind: 'process',
  options: { home: join(home, 'signals'), cgroups: false },
  image: null,
}));

// As root on a machine with control groups version 2 it uses them; elsewhere this is the same as above.
executorContract('process, by control group where there is one', () => ({
  kind: 'process',
  options: { home: join(home, 'groups') },
  image: null,
}));

filesContract('process', () => ({ kind: 'process', options: { home: join(home, 'files') }, image: null }));
