import { lstatSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import setUpBundle from '../e2e/bundle.ts';
import { cleanEnv, type Ended, failing, root, runCli } from './cli-child.ts';

let dir: string;
beforeAll(() => {
  setUpBundle();
  dir = mkdtempSync(join(tmpdir(), 'autogit-yml-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const cli = (args: string[]): Promise<Ended> => runCli(args, cleanEnv(join(dir, 'user')));

describe('autogit.yml', () => {
  const seed = readFileSync(join(root, 'test', 'fixtures', 'seed-autogit.yml'), 'utf8').replace(
    '192.168.1.170',
    '192.168.1.Z',
  );

  it('of the seed design: join and doctor warn once each, config lists every key, other commands are silent', async () => {
    const file = join(dir, 'seed.yml');
    const home = join(dir, 'seed-home');
    writeFileSync(file, seed);
    const heads = [
      'not yet: GitLab is deployed by a name',
      'not yet: this version mirrors',
      'it looks all the time',
      'not filled in',
    ];
    const times = (text: string) => heads.map((head) => text.split(head).length - 1);
    // It ends at once, for another reason.
    mkdirSync(home);
    writeFileSync(join(home, 'identity.key'), 'no key');
    const joining = await cli(['--config', file, '--home', home, 'join', '--no-mdns', '--dashboard', 'off']);
    expect(times(joining.stderr)).toEqual([1, 1, 1, 1]);
    expect(joining.stderr).toContain('identity.key');
    const doctor = await cli(['--config', file, '--home', home, 'doctor', '--no-mdns']);
    expect(times(doctor.stdout)).toEqual([1, 1, 1, 1]);
    const config = await cli(['--config', file, 'config']);
    expect(config.stderr).toBe('');
    expect(config.stdout).toContain('health.check_interval\t60\tdecided by the mesh\t-\n');
    expect(config.stdout).toContain('runners.gpu[0].host\t192.168.1.X\tnot filled in\t-\n');
    const { others } = JSON.parse((await cli(['--config', file, 'config', '--json'])).stdout) as { others: unknown[] };
    expect(others).toContainEqual({ key: 'version', line: 2, value: '1.0', fate: 'obeyed', setting: null });
    expect((await cli(['--config', file, 'version'])).stderr).toBe('');
    expect(times((await cli(['--config', file, '--home', home, 'status'])).stderr)).toEqual([0, 0, 0, 0]);
  });

  it('config init writes one that loads, keeps what is there, and is kept from it by no file that is no good', async () => {
    const file = join(dir, 'made', 'here', 'autogit.yml');
    expect(await cli(['--config', file, 'config', 'init', '-q'])).toEqual({ code: 0, stdout: `${file}\n`, stderr: '' });
    expect(statSync(file).mode & 0o777).toBe(0o644);
    expect(readFileSync(file, 'utf8')).toMatch(/^# Seen on this machine: \d+ cores?, .* of memory/m);
    expect((await cli(['--config', file, 'config'])).stdout).not.toContain('\tfile');
    writeFileSync(file, 'nmae: kang\n');
    failing(1, /is there already, and is left/, /config init --force/)(await cli(['--config', file, 'config', 'init']));
    expect(readFileSync(file, 'utf8')).toBe('nmae: kang\n');
    const link = join(dir, 'link.yml');
    symlinkSync(file, link);
    expect((await cli(['--config', link, 'config', 'init', '--force', '--json'])).stdout).toBe(`{"file":"${link}"}\n`);
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    expect(readFileSync(file, 'utf8')).toContain('#maxRuns: ');
    failing(1, /cannot be written/, /--config FILE/)(await cli(['--config', '/proc/x/a.yml', 'config', 'init']));
    failing(1, /it is no file/, /--config FILE/)(await cli(['--config', dir, 'config', 'init', '--force']));
  });
});
