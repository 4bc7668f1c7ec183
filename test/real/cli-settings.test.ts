import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import setUpBundle from '../e2e/bundle.ts';
import { cleanEnv, type Ended, failing, runCli } from './cli-child.ts';

let dir: string;
beforeAll(() => {
  setUpBundle();
  dir = mkdtempSync(join(tmpdir(), 'autogit-cli-settings-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const env = (more: Record<string, string> = {}): Record<string, string> => cleanEnv(join(dir, 'user'), more);
const cli = (args: string[], more: Record<string, string> = {}): Promise<Ended> => runCli(args, env(more));

describe('settings reach the commands', () => {
  it('flag > variable > file > default, and config says which', async () => {
    const config = join(dir, 'user', '.config', 'autogit-node');
    mkdirSync(config, { recursive: true });
    const file = join(config, 'autogit.yml');
    writeFileSync(
      file,
      'name: from-file\nlabels: [render, train]\nmdns: off\njobs:\n  all: true\ninvite: SECRET-CODE\n',
    );
    const { stdout, stderr, code } = await cli(['config', '--home', '/x'], {
      AUTOGIT_NAME: 'from-variable',
      AUTOGIT_NAEM: 'x',
    });
    const rows = new Map(stdout.split('\n').map((line) => [line.split('\t')[0], line.split('\t').slice(1)]));
    expect(rows.get('name')).toEqual(['from-variable', 'variable', 'AUTOGIT_NAME']);
    expect(rows.get('labels')).toEqual(['render,train', 'file', 'AUTOGIT_LABELS']);
    expect(rows.get('mdns')).toEqual(['off', 'file', 'AUTOGIT_MDNS']);
    expect(rows.get('home')).toEqual(['/x', 'flag', 'AUTOGIT_HOME']);
    expect(rows.get('jobs.all')).toEqual(['on', 'file', 'AUTOGIT_JOBS_ALL']);
    expect(rows.get('invite')?.[0]).toBe('[set]');
    expect(stderr).toContain('AUTOGIT_NAEM is set and means nothing');
    expect(code).toBe(0);
    rmSync(file);
  });

  it('config shows what no agent could start with, and then says so', async () => {
    const shown = await cli(['config', '--home', '/x'], { AUTOGIT_LISTEN: 'nonsense' });
    expect(shown.stderr).toMatch(
      /^error: the variable AUTOGIT_LISTEN: listen "nonsense": an address to listen on is .*\nfix: correct the file or variable/,
    );
    expect(shown.stdout).toContain('listen\tnonsense\tvariable');
    expect(shown.code).toBe(2);
  });

  it.each([
    ['nmae: kang\n', /bad\.yml, line 1: unknown key "nmae"; did you mean name\?/],
    ['jobs:\n  al: true\n', /unknown key "jobs\.al"/],
    ['name: [a\n', /bad\.yml, line \d: this is no YAML/],
    ['- a\n', /list of "key: value" lines/],
    ['name:\n  first: x\n', /name must be a text/],
    ['maxRuns: many\n', /maxRuns: "many" is no whole number/],
    ['a: &a [x]\nb: *a\n', /bad\.yml, line 2: \*a is not followed here/],
  ])('autogit.yml %j is refused by name', async (text, sentence) => {
    const file = join(dir, 'bad.yml');
    writeFileSync(file, text);
    failing(
      2,
      sentence,
      /correct the file or variable|write the value itself/,
    )(await cli(['--config', file, 'join', '--home', join(dir, 'none')]));
  });
});
