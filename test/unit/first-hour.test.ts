import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { asTyped, callName, typedHome } from '../../node/cli/call-name.ts';
import { config } from '../../node/cli/config-commands.ts';
import { describeFailure } from '../../node/cli/failure.ts';
import { writeFlags } from '../../node/cli/service-config.ts';
import { asRootService, asService } from '../../node/machine/as-service.ts';
import { resolveSettings, type SettingsSources } from '../../node/settings/settings.ts';
import { readSettingsFile } from '../../node/settings/settings-file.ts';
import { leftAway, recallJoin, rememberJoin } from '../../node/store/join-memory.ts';
import { AutogitError } from '../../protocol/errors.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'autogit-hour-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const said = (sources: Partial<SettingsSources>) =>
  resolveSettings({ command: 'join', given: {}, env: {}, file: new Map(), fileName: 'autogit.yml', ...sources });

describe('how this program is called', () => {
  const npx = '/home/ada/.npm/_npx/1a2b/node_modules/.bin/autogit-node';

  it('by npx, where nothing of that name is in PATH', () => {
    expect(callName(npx, { PATH: '/nowhere:/home/ada/.npm/_npx/1a2b/node_modules/.bin' })).toBe('npx autogit-node');
    expect(callName('/usr/local/bin/autogit-node', { PATH: '/usr/local/bin' })).toBe('autogit-node');
    const local = '/home/ada/mesh/node_modules/.bin/autogit-node';
    const npm = (asked: string) => ({ PATH: '/nowhere', npm_command: 'exec', npm_lifecycle_script: asked });
    expect(callName(local, npm('autogit-node'))).toBe('npx autogit-node');
    expect(callName(local, npm('vitest'))).toBe('autogit-node');
    writeFileSync(join(dir, 'autogit-node'), '', { mode: 0o755 });
    expect(callName(npx, { PATH: dir })).toBe('autogit-node');
  });

  it('commands in sentences are ones that can be typed; other words stay', () => {
    const name = 'npx autogit-node';
    expect(asTyped('fix: autogit-node status; autogit-node gitlab connect URL', name)).toBe(
      'fix: npx autogit-node status; npx autogit-node gitlab connect URL',
    );
    expect(asTyped('npx autogit-node join', name)).toBe('npx autogit-node join');
    for (const text of ['in its group, autogit-node', '/opt/autogit-node/0.1.0', 'autogit-node runs here'])
      expect(asTyped(text, name)).toBe(text);
  });

  it('a home that was typed is in what is to be typed next, on this machine', () => {
    expect(typedHome(['--home', '/srv/a', 'status'])).toBe('--home /srv/a');
    expect(typedHome(['status', "--home=/srv/ann's disk"])).toBe("--home '/srv/ann'\\''s disk'");
    expect(typedHome(['--home', '~/mesh'])).toBe("--home '~/mesh'");
    for (const argv of [['status'], ['status', '--home'], ['x', '--', '--home', '/srv/a']])
      expect(typedHome(argv)).toBeNull();
    const home = '--home /srv/a';
    const typed = (text: string) => asTyped(text, 'autogit-node', home);
    expect(typed('see: autogit-node status; sudo autogit-node service install')).toBe(
      `see: autogit-node ${home} status; sudo autogit-node ${home} service install`,
    );
    for (const text of ['it goes on by itself: ', 'a folder on another disk: ', 'jobs are root on this machine): '])
      expect(typed(`${text}autogit-node gitlab`)).toBe(`${text}autogit-node ${home} gitlab`);
    for (const text of [
      'autogit-node --help',
      'see autogit-node join --help',
      'autogit-node help join',
      'AUTOGIT_INVITE=abc autogit-node join',
      'type on any machine of the mesh:\n   autogit-node approve a',
    ])
      expect(typed(text)).toBe(text);
    // Another machine has a home of its own, and where one is named it is that one.
    for (const text of [
      'on kang: autogit-node doctor',
      'mesh "home"; on the other machines: autogit-node join',
      'get a fresh one on an approved machine: sudo autogit-node invite',
      'until somebody types there: autogit-node forget kang',
      'say which: autogit-node service install --home /srv/b',
      'the mesh is called autogit-node',
    ])
      expect(typed(text)).toBe(text);
    const failed = new AutogitError('no-agent', 'no agent is running here', { hint: 'autogit-node join' });
    const argv = process.argv;
    process.argv = [...argv.slice(0, 2), 'status', '--home', '/srv/a'];
    try {
      expect(describeFailure(failed, false)).toContain(`fix: autogit-node ${home} join`);
    } finally {
      process.argv = argv;
    }
  });
});

it('no machine is told to install a service that it cannot have', () => {
  expect([asRootService(true), asService(true)]).toEqual([
    'sudo autogit-node service install',
    'To keep it running: autogit-node service install',
  ]);
  for (const words of [asRootService(false), asService(false)]) {
    expect(words).not.toContain('service install');
    expect(words).toMatch(/without systemd.*autogit-node join --service$/);
  }
});

describe('config', () => {
  it('shows times and sizes to people as they write them, to scripts as numbers', async () => {
    const shown = async (isTerminal: boolean): Promise<string> => {
      const told: string[] = [];
      const nothing = (): void => {};
      const out = { isTerminal, columns: 200, data: (text: string) => void told.push(text), json: nothing };
      const context = {
        command: 'config',
        settings: said({}),
        args: [],
        stop: { told: () => new AbortController().signal, own: nothing },
      };
      await config({ ...context, out: { ...out, talk: nothing, restart: nothing } });
      return told.join('\n');
    };
    expect(await shown(true)).toMatch(/^imageAge +30 d +default/m);
    expect(await shown(true)).toMatch(/^artifactLimit +10 GiB +default/m);
    expect(await shown(false)).toContain('imageAge\t2592000000\tdefault');
  });
});

describe('what a join was told', () => {
  it('is remembered, a plain join hears what it leaves away, and no secret or moment is kept', () => {
    const first = said({
      given: {
        executors: ['process'],
        labels: ['fast', 'two words'],
        new: true,
        invite: 'AAAA-BBBB',
        reserveMemory: '2g',
      },
      env: { AUTOGIT_NAME: 'server' },
    });
    rememberJoin(dir, first);
    expect(readFileSync(join(dir, 'join.json'), 'utf8')).not.toMatch(/AAAA|new/);
    expect(leftAway(dir, first)).toBeNull();
    const missing = `--executor process --label fast --label 'two words' --reserve-memory ${2 * 2 ** 30}`;
    expect(leftAway(dir, said({}))).toEqual({ missing, whole: missing });
    // What is printed is typed instead, so it has today's flags too; what stands in autogit.yml need not be typed.
    expect(
      leftAway(dir, said({ given: { peers: ['kang'], labels: ['slow'] }, file: new Map([['maxRuns', '2']]) })),
    ).toEqual({
      missing: `--executor process --reserve-memory ${2 * 2 ** 30}`,
      whole: `--peer kang --executor process --label slow --reserve-memory ${2 * 2 ** 30}`,
    });
    expect(
      leftAway(
        dir,
        said({
          file: new Map([
            ['executors', 'process'],
            ['labels', 'x'],
            ['reserveMemory', '1g'],
          ]),
        }),
      ),
    ).toBeNull();
    writeFileSync(join(dir, 'join.json'), 'nonsense');
    expect(leftAway(dir, said({}))).toBeNull();
  });

  it('a home that cannot be written is an error with a fix, no unforeseen one', () => {
    expect(() => rememberJoin(join(dir, 'missing'), said({}))).toThrow(
      expect.objectContaining({ code: 'home-unwritable', hint: expect.stringContaining('--home DIR') }),
    );
  });

  it('goes into autogit.yml for the service; comments and other keys stay', () => {
    rememberJoin(
      dir,
      said({
        given: { executors: ['process'], labels: ['fast', 'ssd'], mdns: false },
        env: { AUTOGIT_NAME: 'server' },
      }),
    );
    const file = join(dir, 'conf', 'autogit.yml');
    expect(writeFlags(file, recallJoin(dir)).sort()).toEqual(['executors', 'labels', 'mdns', 'name']);
    writeFileSync(file, `# mine\n${readFileSync(file, 'utf8')}verbose: on\n`);
    expect(writeFlags(file, { ...recallJoin(dir), name: { value: 'kang', source: 'flag' } })).toEqual(['name']);
    expect(readFileSync(file, 'utf8')).toMatch(/^# mine\n[\s\S]*verbose: on/);
    const read = said({ file: readSettingsFile(file, true).values });
    expect([read.text('name'), read.list('executors'), read.list('labels'), read.isOn('mdns')]).toEqual([
      'kang',
      ['process'],
      ['fast', 'ssd'],
      false,
    ]);
    writeFileSync(file, 'nmae: x\n');
    expect(() => writeFlags(file, recallJoin(dir))).toThrow(/unknown key "nmae"/);
  });
});
