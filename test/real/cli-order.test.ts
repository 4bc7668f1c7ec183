import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { cleanEnv, failing, runCli } from './cli-child.ts';

/** What can be told by the command line alone is refused before an agent is looked for, and before anybody is asked for anything. */
describe('what is wrong in a command line', () => {
  let home: string;
  beforeAll(() => {
    home = mkdtempSync(join(tmpdir(), 'autogit-order-'));
  });
  afterAll(() => rmSync(home, { recursive: true, force: true }));

  it.each([
    [['notify', 'quiet', '25-7'], /"25-7" are no quiet hours/, /off, or as in: .*notify quiet 22:00-07:00/],
    [['notify', 'quiet', '--all'], /--all goes with the hours/, /notify quiet 22:00-07:00 --all/],
    [['notify', 'remove', 'No Name'], /"No Name" is no name for one that is told/, /notify remove --help/],
    [['cancel', '0'], /"0" is no job's number/, /cancel --help/],
    [['retry', '99999999999999999'], /is no job's number/, /retry --help/],
    [['jobs', '0'], /"0" is no job's number/, /jobs --help/],
    [['logs', '0'], /"0" is no job's number/, /logs --help/],
    [['gitlab', 'backup', '--to', 'here'], /here/, /backup --to \/mnt\/disk\/gitlab/],
    [['gitlab', 'backup', '--to', '/mnt/x', '--keep', 'x'], /--keep x is not of the form/, /--keep 7,4,6/],
    [['gitlab', 'backup', '--to', '/mnt/x', '--every', '1s'], /--every .* is too often/, /--every 1d/],
    [['gitlab', 'protect', '--to', 'here'], /here/, /backup --to \/mnt\/disk\/gitlab/],
    [['gitlab', 'restore'], /name either a backup/, /gitlab history/],
    [['gitlab', 'restore', 'a', '--at', '2h'], /name either a backup/, /gitlab history/],
    [['gitlab', 'restore', '--at', 'yesterday'], /"yesterday" is no time/, /--at 2h/],
    [['gitlab', 'restore', 'a', '--project', '../x'], /\.\.\/x is no path of a project/, /--project group\/name/],
    [['gitlab', 'diff', '--at', 'yesterday'], /"yesterday" is no time/, /--at 2h/],
  ] as [string[], RegExp, RegExp][])('%j is said without an agent', async (args, sentence, fix) => {
    failing(2, sentence, fix)(await runCli(['--home', home, ...args], cleanEnv(home)));
  });
});
