import type { Command as Commander } from 'commander';
import { describe, expect, it } from 'vitest';
import { commands } from '../../node/cli/command-table.ts';
import { buildProgram, optionOf } from '../../node/cli/program.ts';
import { topics } from '../../node/cli/topics.ts';
import { joinOptions, parsePlayedGpu } from '../../node/settings/join-options.ts';
import { nameFromHost } from '../../node/settings/node-name.ts';
import { resolveSettings, type SettingsSources } from '../../node/settings/settings.ts';
import { type Flag, flags, flagsOf, spellingOf, variableOf } from '../../node/settings/settings-table.ts';
import type { Environment } from '../../node/store/home.ts';

const resolve = (sources: Partial<SettingsSources>) =>
  resolveSettings({ command: 'join', given: {}, env: {}, file: new Map(), fileName: 'autogit.yml', ...sources });
const program = (): Commander => buildProgram(() => {});
const firstWords = [...new Set(commands.map(({ path }) => path.split(' ')[0] as string))].filter(
  (word) => !word.startsWith('__'),
);
it('each command stands below one topic of --help, and nothing else does', () => {
  expect(Object.values(topics).flat().sort()).toEqual([...firstWords, 'help'].sort());
  const help = program().helpInformation();
  const heads = Object.keys(topics).map((topic) => help.indexOf(`\n${topic}\n`));
  expect(heads).not.toContain(-1);
  expect(heads).toEqual([...heads].sort((a, b) => a - b));
  expect(help).not.toContain('\nCommands:\n');
});
const all = (commander: Commander): Commander[] => [commander, ...commander.commands.flatMap(all)];

/** A text that the flag accepts, and what it means. */
function example(flag: Flag): { text: string; value: unknown } {
  const text =
    flag.choices?.at(-1) ??
    {
      switch: flag.default === true ? 'off' : 'on',
      text: 'x',
      hostname: 'x',
      folder: '/x',
      optional: 'x',
      list: 'x',
      duration: '90s',
      size: '2g',
      count: '3',
      percent: '3%',
      port: '3',
      choice: '',
    }[flag.kind];
  const value = {
    switch: flag.default !== true,
    text,
    hostname: text,
    folder: text,
    optional: text,
    list: [text],
    duration: 90_000,
    size: 2 * 2 ** 30,
    count: 3,
    percent: 3,
    port: 3,
    choice: text,
  }[flag.kind];
  return { text, value };
}

describe('every flag has a variable and a key, and every key a flag', () => {
  it('what commander offers is what the table says', () => {
    const offered = all(program()).flatMap((commander) =>
      commander.options.map((option) => `${path(commander)} ${option.long}`.trim()),
    );
    const table = flags.flatMap((flag) =>
      flag.commands.map((command) => `${command === '*' ? '' : command} ${spellingOf(flag)}`.trim()),
    );
    expect(offered.filter((name) => name !== '--version').sort()).toEqual(table.sort());
  });

  it('every command, and every word that only gathers some, says what it does', () => {
    const told = all(program()).filter((commander) => !commander.name().startsWith('__'));
    expect(told.filter((commander) => commander.description() === '').map(path)).toEqual([]);
  });

  it('every command of the table exists, and takes no flag twice', () => {
    const known = new Set([...commands.map(({ path: name }) => name), '*']);
    for (const flag of flags)
      for (const command of flag.commands) expect(known, `${flag.key}: ${command}`).toContain(command);
    for (const { path: name } of commands) {
      const names = [...flagsOf('*'), ...flagsOf(name)].map(({ name: long }) => long);
      expect(new Set(names).size, name).toBe(names.length);
    }
  });

  it('keys and variables are unique and follow one rule', () => {
    expect(new Set(flags.map(({ key }) => key)).size).toBe(flags.length);
    const variables = flags.map(variableOf);
    expect(new Set(variables).size).toBe(flags.length);
    for (const variable of variables) expect(variable).toMatch(/^AUTOGIT(_[A-Z]+)+$/);
    const key = (name: string) => flags.find((flag) => flag.key === name) as Flag;
    expect(variableOf(key('reserveMemory'))).toBe('AUTOGIT_RESERVE_MEMORY');
    expect(variableOf(key('mdns'))).toBe('AUTOGIT_MDNS');
    expect(variableOf(key('playGpu'))).toBe('AUTOGIT_PLAY_GPU');
    expect(variableOf(key('jobs.all'))).toBe('AUTOGIT_JOBS_ALL');
  });

  it.each(flags.map((flag) => [flag.key, flag] as const))('%s: flag > variable > file > default', (key, flag) => {
    const command = flag.commands[0] === '*' ? 'status' : (flag.commands[0] as string);
    const { text, value } = example(flag);
    const env: Environment = { [variableOf(flag)]: text };
    const file = new Map([[key, text]]);
    expect(resolve({ command, file }).get(key)).toEqual(value);
    expect(resolve({ command, file }).source(key)).toBe('file');
    expect(resolve({ command, file, env }).source(key)).toBe('variable');
    const given = { [key]: flag.kind === 'switch' ? (value as boolean) : text };
    expect(resolve({ command, file, env, given }).source(key)).toBe('flag');
    expect(resolve({ command, file, env, given }).get(key)).toEqual(value);
    expect(resolve({ command }).source(key)).toBe('default');
    expect(resolve({ command }).get(key)).not.toEqual(value);
  });

  it('a flag on the command line arrives under its key', () => {
    for (const flag of flags) {
      const command = commands.find(
        ({ path: name }) => name === (flag.commands[0] === '*' ? 'version' : flag.commands[0]),
      ) as (typeof commands)[number];
      const { text, value } = example(flag);
      let given: Record<string, unknown> = {};
      const words = command.path.split(' ');
      const args = (command.args?.match(/<[^>]+>/g) ?? []).map(() => 'x');
      const typed = flag.kind === 'switch' ? [spellingOf(flag)] : [spellingOf(flag), text];
      buildProgram((_command, _args, said) => {
        given = said;
      }).parse([...words, ...args, ...typed], { from: 'user' });
      const expected = flag.kind === 'switch' ? value : flag.kind === 'list' ? [text] : text;
      expect(given, spellingOf(flag)).toEqual({ [flag.key]: expected });
    }
  });
});

function path(commander: Commander): string {
  return commander.parent === null ? '' : `${path(commander.parent)} ${commander.name()}`.trim();
}

describe('help', () => {
  const helpOf = (name: string): string => {
    const found = all(program()).find((one) => path(one) === name) as Commander;
    return found.helpInformation().replaceAll(/\s+/g, ' ');
  };

  it('of a flag says what may be said, what is so where nothing is, and what it means for that command', () => {
    const deploy = helpOf('gitlab deploy');
    expect(deploy).toContain('(minimal, homelab, team, beast; default: homelab)');
    expect(deploy).toContain('port of its web pages (default: 8080)');
    expect(deploy).toContain('the machine that shall run it (default: this one)');
    const adopt = helpOf('gitlab adopt');
    expect(adopt).toContain('(default: as their version says)');
    expect(adopt).not.toContain('default: gitlab/gitlab-ce');
    expect(adopt).not.toContain('https://NAME');
    expect(helpOf('gitlab drill')).toContain('(default: one that holds a copy)');
    expect(helpOf('gitlab protect')).toContain('(default: 7,4,6)');
    expect(helpOf('gitlab history')).not.toContain('difference');
    // What the words say already is not said again.
    expect(helpOf('join')).toContain('docker or process (no isolation) --');
  });

  it('has no line that a terminal of 80 columns breaks', () => {
    let said = '';
    const whole = program().configureOutput({
      writeOut: (text) => {
        said += text;
      },
    });
    whole.outputHelp();
    expect(said).toContain('Exit codes: 0 ok');
    expect(said.split('\n').filter((line) => line.length > 80)).toEqual([]);
  });
});

describe('bad settings are refused by name', () => {
  it.each([
    [{ given: { maxRuns: 'many' } }, 'bad-flag', '--max-runs: "many" is no whole number; write 4'],
    [{ env: { AUTOGIT_MDNS: 'perhaps' } }, 'bad-config', 'AUTOGIT_MDNS: "perhaps" is neither on nor off'],
    [{ env: { AUTOGIT_MDNS: 'constructor' } }, 'bad-config', 'AUTOGIT_MDNS: "constructor" is neither on nor off'],
    [
      { file: new Map([['pair', 'soon']]) },
      'bad-config',
      'autogit.yml: pair: "soon" is no duration; write 90s, 10m or 2h',
    ],
    [{ given: { executors: ['docker', 'vm'] } }, 'bad-flag', '--executor: "vm" is none of docker, process'],
    [{ given: { reserveMemory: '8' } }, 'bad-flag', '--reserve-memory: "8" would be 8 bytes; write the unit: 8g or 8m'],
    [{ given: { reserveMemory: '-1' } }, 'bad-flag', '--reserve-memory: "-1" is no size; write 512m or 24g'],
    [
      { command: 'practice-gitlab', given: { 'practice.port': '70000' } },
      'bad-flag',
      '--port: "70000" is no port; write a number from 0 to 65535',
    ],
    [
      { command: 'practice-gitlab', env: { AUTOGIT_PRACTICE_PORT: '-1' } },
      'bad-config',
      'AUTOGIT_PRACTICE_PORT: "-1" is no port; write a number from 0 to 65535',
    ],
    [
      { command: 'gitlab deploy', given: { 'gitlab.data': 'gitlab' } },
      'bad-flag',
      "--data: \"gitlab\" is no absolute path without '.' and '..'; write /srv/gitlab",
    ],
    [
      { command: 'gitlab deploy', file: new Map([['gitlab.data', '/srv/../etc']]) },
      'bad-config',
      "autogit.yml: gitlab.data: \"/srv/../etc\" is no absolute path without '.' and '..'; write /srv/gitlab",
    ],
    [{ file: new Map([['name', ['a', 'b']]]) }, 'bad-config', 'autogit.yml: name: it takes one value, not a list'],
  ] as [Partial<SettingsSources>, string, string][])('%j', (sources, code, message) => {
    expect(() => resolve(sources)).toThrow(expect.objectContaining({ code, message }));
  });

  it('names variables that mean nothing', () => {
    expect(resolve({ env: { AUTOGIT_NAMES: 'x', AUTOGIT_NAME: 'kang', PATH: '/' } }).unknownVariables).toEqual([
      'AUTOGIT_NAMES',
    ]);
  });
});

describe('join', () => {
  const join = (sources: Partial<SettingsSources>) => joinOptions(resolve(sources), { XDG_STATE_HOME: '/state' });

  it('has defaults that need no flag', () => {
    expect(join({})).toMatchObject({
      home: '/state/autogit-node',
      found: null,
      peers: [],
      executors: [],
      mdns: true,
      input: true,
      isNamed: false,
      reserveMemoryBytes: 0,
      engineForJobs: [],
      imageRoomPercent: 15,
      imageAgeMs: 30 * 86_400_000,
      maxRuns: null,
    });
  });

  it('takes everything', () => {
    const given = {
      new: 'home',
      pair: '10m',
      peers: ['kang:7117', '/ip4/10.0.0.2/tcp/7117'],
      name: 'desktop-1',
      executors: ['process'],
      labels: ['render', 'train,infer'],
      mdns: false,
      reserveMemory: '8g',
      playGpu: ['RTX 3090 Ti:24g'],
      service: true,
      maxRuns: '4',
      listen: ['/ip4/127.0.0.1/tcp/0'],
    };
    expect(join({ given })).toMatchObject({
      found: { name: 'home' },
      pairMs: 600_000,
      peers: given.peers,
      name: 'desktop-1',
      isNamed: true,
      executors: ['process'],
      labels: ['render', 'train', 'infer'],
      mdns: false,
      reserveMemoryBytes: 8 * 2 ** 30,
      playGpus: [{ model: 'RTX 3090 Ti', memoryBytes: 24 * 2 ** 30 }],
      maxRuns: 4,
      input: false,
    });
    expect(join({ given: { new: true } }).found).toEqual({ name: null });
    expect(join({ env: { AUTOGIT_NEW: 'on', AUTOGIT_PLAY_GPU: 'RTX 3090 Ti:24g, RX 7900 XTX:24g' } })).toMatchObject({
      found: { name: null },
      playGpus: [{ model: 'RTX 3090 Ti' }, { model: 'RX 7900 XTX' }],
    });
  });

  it.each([
    [{ name: 'Kang!' }, /^name "Kang!"/],
    [{ imageRoom: '91' }, /^imageRoom "91": a percentage from 0 \(never\) to 90/],
    [{ peers: ['not an address'] }, /^peers/],
    [{ peers: ['kang:70000'] }, /^peers "kang:70000": .*port from 1 to 65535$/],
    [{ peers: ['/ip4/10.0.0.2/tcp/0'] }, /^peers .*port from 1 to 65535$/],
    [{ listen: ['0.0.0.0:7117'] }, /^listen/],
    [{ listen: ['/ip4/0.0.0.0/tcp/65536'] }, /^listen .*port from 0 to 65535$/],
    [{ dashboard: '127.0.0.1:99999' }, /^dashboard .*port from 1 to 65535; or off$/],
    [{ dashboard: 'on' }, /^dashboard "on": it is HOST:PORT/],
    [{ dashboardNames: ['https://mesh.lan'] }, /^dashboardNames .*without http/],
    [{ dockerHost: 'tcp://10.0.0.2:65536' }, /^dockerHost .*port up to 65535$/],
    [{ maxRuns: '0' }, /^maxRuns/],
    [{ webhook: '0.0.0.0:70000' }, /^webhook "0.0.0.0:70000": it is HOST:PORT.*; or off$/],
    [{ webhook: 'http://kang' }, /^webhook/],
    [{ webhook: '7118' }, /^webhook "7118": it is HOST:PORT/],
    [{ webhook: ':7118' }, /^webhook ":7118": it is HOST:PORT/],
    [{ webhook: 'on' }, /^webhook "on": .*; or off$/],
    [{ webhook: '192.168.1:7118' }, /^webhook/],
    [{ webhook: '[10.0.0.5]:7118' }, /^webhook/],
    [{ webhookUrl: 'http://kang.lan' }, /^--webhook-url is of a door for GitLab's webhooks, and none is open here$/],
    [{ webhook: 'off', webhookTls: '/etc/x.pem' }, /^--webhook-tls is of a door/],
    [{ webhookUrl: 'kang.lan:7118' }, /^webhookUrl/],
    [{ webhookUrl: 'http://ann:secret@kang.lan' }, /^webhookUrl/],
    [{ webhookAllow: ['192.168.1.0/40'] }, /^webhookAllow/],
    [{ new: 'x'.repeat(64) }, /^--new/],
    [{ playGpu: ['RTX'] }, /^--play-gpu/],
    [{ dockerHost: '/var/run/docker.sock' }, /^dockerHost/],
    [{ user: '-rf' }, /^user/],
    // As what reads it says it, not only the form.
    [{ giveWay: ['freeze', 'end'] }, /^giveWay "freeze, end": freeze and end for all jobs: leave one out$/],
    [{ giveWay: ['train=suspend', 'train=end'] }, /: tag train stands there twice$/],
    [{ giveWay: ['train=sleep'] }, /: "sleep" is none of finish, .*; write freeze, or train=suspend$/],
    [{ ownerHours: ['sometimes 1-2'] }, /^ownerHours .*: "sometimes 1-2" is no hours; write weekdays/],
  ])('refuses %j', (given, message) => {
    expect(() => join({ given })).toThrow(
      expect.objectContaining({ code: 'bad-flag', message: expect.stringMatching(message) }),
    );
  });

  it('a door for webhooks only where it is asked for', () => {
    const door = (given: Record<string, unknown>) => join({ given: given as never }).webhook;
    const inFile = { file: new Map([['webhookUrl', 'http://kang.lan']]) };
    expect([door({}), door({ webhook: 'off' }), join(inFile).webhook]).toEqual([null, null, null]);
    expect(door({ webhook: '0.0.0.0' })).toEqual({ host: '0.0.0.0', port: 7118, url: null, tlsFile: null, allow: [] });
    expect(['[::]:80', '::', 'fd00::1', '10.0.0.5:1', 'kang.lan'].map((webhook) => door({ webhook }))).toMatchObject([
      { host: '::', port: 80 },
      { host: '::', port: 7118 },
      { host: 'fd00::1', port: 7118 },
      { host: '10.0.0.5', port: 1 },
      { host: 'kang.lan', port: 7118 },
    ]);
    const more = { webhookUrl: 'https://kang.lan/x/', webhookTls: '/etc/x.pem', webhookAllow: ['10.0.0.0/8'] };
    expect(door({ webhook: '0.0.0.0:9', ...more })).toMatchObject({
      url: 'https://kang.lan/x',
      tlsFile: '/etc/x.pem',
      allow: ['10.0.0.0/8'],
    });
  });

  it('makes a name of any host name', () => {
    expect(['Kang.fritz.box', 'DESKTOP_1', '---', 'größe', ''].map(nameFromHost)).toEqual([
      'kang',
      'desktop-1',
      'machine',
      'gr-e',
      'machine',
    ]);
    expect(parsePlayedGpu('A:B:24g')).toEqual({ model: 'A:B', memoryBytes: 24 * 2 ** 30 });
  });
});

describe('the help', () => {
  it('shows a value for what takes one', () => {
    expect(flags.map((flag) => optionOf(flag).flags)).toContain('-w, --watch [s]');
    expect(program().helpInformation()).toContain('practice-gitlab');
    expect(program().helpInformation()).not.toContain('__watchdog');
  });
});
