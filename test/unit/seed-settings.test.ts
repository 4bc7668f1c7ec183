import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { writeFlags } from '../../node/cli/service-config.ts';
import { progressLine } from '../../node/progress-lines.ts';
import { joinOptions } from '../../node/settings/join-options.ts';
import { seedKeys } from '../../node/settings/seed-keys.ts';
import { warningsOf } from '../../node/settings/seed-warnings.ts';
import { resolveSettings } from '../../node/settings/settings.ts';
import { readSettingsFile } from '../../node/settings/settings-file.ts';

/** The autogit.yml of the seed design, as its users wrote it. */
const seed = readFileSync(new URL('../fixtures/seed-autogit.yml', import.meta.url), 'utf8');
/** What it offers in comments, said. */
const seedInFull = seed
  .replace('preset: homelab  #', 'preset: team  #')
  .replace('# cpu: 6', 'cpu: 6')
  .replace('# memory: 6G', 'memory: 6G')
  .replace('# - type: webhook', '- type: webhook')
  .replace('#   url: https://...', '  url: https://chat.example.lan/hooks/SECRET');

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'autogit-seed-'));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function read(text: string | Buffer, name = 'none-of-them') {
  const fileName = join(dir, 'autogit.yml');
  writeFileSync(fileName, text);
  const { values: file, places, notes } = readSettingsFile(fileName, true, name);
  const settings = resolveSettings({ command: 'join', given: {}, env: {}, file, fileName, places, notes });
  return { settings, notes, warnings: warningsOf(notes) };
}
const joined = (text: string, name?: string) => joinOptions(read(text, name).settings, { XDG_STATE_HOME: '/state' });
const refusal = (text: string | Buffer, name?: string): string => {
  try {
    joinOptions(read(text, name).settings);
  } catch (error) {
    return (error as Error).message.replaceAll(`${join(dir, 'autogit.yml')}`, 'FILE');
  }
  return 'no refusal';
};

/** Every key with a value, lists of plain values as one. Not by our reader: this is what it is measured by. */
function keysOf(node: unknown, path = ''): string[] {
  if (Array.isArray(node) && node.some((item) => typeof item === 'object'))
    return node.flatMap((item, index) => keysOf(item, `${path}[${index}]`));
  if (node === null || typeof node !== 'object' || Array.isArray(node)) return [path];
  return Object.entries(node).flatMap(([key, child]) => keysOf(child, path === '' ? key : `${path}.${key}`));
}

/** What becomes of each key, on a machine that is none of the file's. */
const fates: Record<string, string> = {
  version: 'obeyed',
  'gitlab.hostname': 'obeyed',
  'gitlab.external_url': 'obeyed as gitlab.hostname',
  'gitlab.ports.http': 'obeyed as gitlab.port',
  'gitlab.ports.https': 'not yet',
  'gitlab.ports.ssh': 'obeyed as gitlab.sshPort',
  'gitlab.resources.preset': 'obeyed as gitlab.preset',
  'gitlab.resources.cpu': 'not yet',
  'gitlab.resources.memory': 'not yet',
  'mirroring.enabled': 'not yet',
  'mirroring.sources.github.username': 'not yet',
  'mirroring.sources.github.token_env': 'not yet',
  'mirroring.sources.gitlab.username': 'not yet',
  'mirroring.sources.gitlab.token_env': 'not yet',
  'mirroring.schedule': 'not yet',
  'runners.cpu[0].name': 'mesh',
  'runners.cpu[0].host': 'obeyed as peers',
  'runners.cpu[0].executor': 'mesh',
  'runners.cpu[0].concurrent': 'mesh',
  'runners.gpu[0].name': 'mesh',
  'runners.gpu[0].host': 'placeholder',
  'runners.gpu[0].executor': 'mesh',
  'runners.gpu[0].gpu': 'mesh',
  'runners.gpu[0].capabilities': 'mesh',
  'runners.gpu[1].name': 'mesh',
  'runners.gpu[1].host': 'placeholder',
  'runners.gpu[1].executor': 'mesh',
  'runners.gpu[1].gpu': 'mesh',
  'runners.gpu[1].capabilities': 'mesh',
  'health.check_interval': 'mesh',
  'health.reconcile_interval': 'mesh',
  'health.self_heal': 'mesh',
  'health.notify[0].type': 'obeyed',
  'health.notify[1].type': 'obeyed',
  'health.notify[1].url': 'obeyed',
};
const fateOf = ({ fate, as }: { fate: string; as?: string }): string => (as === undefined ? fate : `${fate} as ${as}`);

describe('autogit.yml of the seed design', () => {
  it.each([
    ['as it is', seed],
    ['in full', seedInFull],
    ['in full, with the line ends and the mark of Windows', `\ufeff${seedInFull.replaceAll('\n', '\r\n')}`],
  ])('%s: every key has exactly one fate, and its line', (_form, text) => {
    const { notes } = read(text);
    const keys = keysOf(parse(text.replace('\ufeff', '')));
    expect(notes.map(({ key }) => key).sort()).toEqual(keys.sort());
    for (const note of notes) {
      expect([note.key, fateOf(note)]).toEqual([note.key, fates[note.key]]);
      const word = note.key.replace(/.*\.|\[\d+\]$/g, '');
      expect(text.split('\n')[note.line - 1]).toContain(`${word}:`);
    }
  });

  it('the table has every key of it, and no other', () => {
    const pattern = (key: string) => key.replace(/\[\d+\]/g, '[]').replace(/(mirroring\.sources)\.\w+/, '$1.*');
    // Entries of both lists have the same keys.
    const both = (key: string) => [
      key,
      key.replace('runners.cpu', 'runners.gpu'),
      key.replace('runners.gpu', 'runners.cpu'),
    ];
    const wanted = new Set(keysOf(parse(seedInFull)).map(pattern).flatMap(both));
    // Ours: addresses and keys that are secrets stand in a variable.
    for (const ours of ['url_env', 'secret_env', 'to', 'from']) wanted.add(`health.notify[].${ours}`);
    expect(seedKeys.map(({ path }) => path).sort()).toEqual([...wanted].sort());
  });

  it('every key that is not obeyed is in exactly one warning, which says its fate and what to do', () => {
    const { notes, warnings } = read(seedInFull);
    const heads = {
      mesh: 'decided by the mesh: ',
      'not yet': 'not yet: ',
      placeholder: '192.168.1.X and 192.168.1.Y are not filled in',
    };
    for (const { key, fate, line } of notes) {
      const about = warnings.filter(({ keys }) => keys.includes(key));
      expect([key, about.length]).toEqual([key, fate === 'obeyed' ? 0 : 1]);
      if (fate === 'obeyed') continue;
      const [warning] = about as [(typeof about)[number]];
      expect(warning.sentence).toContain(heads[fate as keyof typeof heads]);
      if (fate === 'mesh') expect(warning.fix).toContain('autogit-node ');
      const [, first, last = first] = /^lines? (\d+)(?: (?:to|and) (\d+))?: /.exec(warning.sentence) ?? [];
      expect(Number(first)).toBeLessThanOrEqual(line);
      expect(Number(last)).toBeGreaterThanOrEqual(line);
    }
    expect(warnings.map(({ sentence }) => sentence).join()).not.toContain('SECRET');
    expect(warnings.map(({ fix }) => fix)).toContain('what it takes: autogit-node gitlab deploy --help');
  });

  it('a GitLab that is deployed is the one that the file describes', () => {
    const settings = (text: string) => {
      writeFileSync(join(dir, 'autogit.yml'), text);
      const { values: file, places, notes } = readSettingsFile(join(dir, 'autogit.yml'), true);
      const all = resolveSettings({ command: 'gitlab deploy', given: {}, env: {}, file, fileName: 'f', places });
      return { notes, get: (key: string) => all.get(`gitlab.${key}`) };
    };
    const { get } = settings(seed);
    expect([get('hostname'), get('port'), get('sshPort'), get('preset')]).toEqual([
      ...['gitlab.example.lan', 8080, 2222, 'homelab'],
    ]);
    const url = (text: string) => settings(`gitlab:\n  external_url: ${text}\n`);
    expect(url('http://kang.lan:80').get('hostname')).toBe('kang.lan');
    for (const text of ['https://kang.lan', 'http://kang.lan/gitlab'])
      expect([url(text).get('hostname'), url(text).notes.map(({ fate }) => fate)]).toEqual([null, ['not yet']]);
    expect(settings(`gitlab:\n  port: 80\n  ports:\n    http: 81\n`).get('port')).toBe(80);
  });

  it('warnings fit a terminal of 60 characters, but for commands', () => {
    for (const { sentence, fix } of read(seedInFull).warnings)
      for (const line of progressLine('warn', 'settings', `${sentence}\n-> ${fix}`, { columns: 60 }).split('\n'))
        if (!/^ +autogit-node /.test(line)) expect(line.length).toBeLessThanOrEqual(60);
  });

  it('a machine obeys its own entry, found by its address', () => {
    const text = seed.replace('192.168.1.170', '127.0.0.1');
    expect(joined(text)).toMatchObject({
      name: 'homelab-cpu',
      isNamed: true,
      executors: ['docker'],
      maxRuns: 4,
      peers: [],
      labels: [],
    });
    const { notes, warnings } = read(text);
    const own = notes.filter(({ key }) => key.startsWith('runners.cpu')).map(fateOf);
    expect(own).toEqual(['obeyed as name', 'obeyed as this machine', 'obeyed as executors', 'obeyed as maxRuns']);
    const others =
      'lines 35 to 44: decided by the mesh: each machine says for itself what it is and takes (desktop-3090ti and desktop-5080: name, executor and capabilities)';
    expect(warnings.map(({ sentence }) => sentence)).toContain(others);
    expect(
      read(seed)
        .warnings.map(({ sentence }) => sentence)
        .join(),
    ).toContain('no entry has the name or an address of this machine');
  });

  it('and by its name; entries of one machine are put together, hosts of the others are known addresses', () => {
    const named = joined(seed, 'desktop-5080');
    expect(named).toMatchObject({
      name: 'desktop-5080',
      labels: ['inference', 'render', 'train'],
      peers: ['192.168.1.170'],
      maxRuns: null,
    });
    const twice = joined(seed.replaceAll(/192\.168\.1\.[XY]/g, '127.0.0.1'));
    expect(twice).toMatchObject({
      name: 'desktop-3090ti',
      labels: ['inference', 'render', 'train'],
      executors: ['docker'],
    });
  });

  it('keys of ours in the same file win, and it is said', () => {
    const text = `${seed}name: kang\nmaxRuns: 2\npeers: [kang.lan, 192.168.1.Z]\n`.replace(
      '192.168.1.170',
      '127.0.0.1',
    );
    expect(joined(text)).toMatchObject({ name: 'kang', maxRuns: 2, peers: ['kang.lan'], executors: ['docker'] });
    const said = read(text).warnings.map(({ sentence }) => sentence);
    expect(said).toContain(
      'lines 30 and 33: overruled: runners.cpu[0].name by name and runners.cpu[0].concurrent by maxRuns, which stands in this file too',
    );
    expect(said.join()).toMatch(/192\.168\.1\.X, 192\.168\.1\.Y and 192\.168\.1\.Z are not filled in/);
  });

  it('service install writes its keys beside them, and everything else stays', () => {
    const text = seed.replace('192.168.1.170', '127.0.0.1');
    read(text);
    const file = join(dir, 'autogit.yml');
    const flags = {
      // The file says both already, in the words of the seed design.
      executors: { value: ['docker'], source: 'file' as const },
      maxRuns: { value: '4', source: 'flag' as const },
      name: { value: 'kang', source: 'flag' as const },
    };
    expect(writeFlags(file, flags)).toEqual(['name']);
    expect(readFileSync(file, 'utf8')).toContain('host: 192.168.1.X # discovered, or given');
    expect(joined(readFileSync(file, 'utf8'))).toMatchObject({ name: 'kang', maxRuns: 4, executors: ['docker'] });
  });

  it('units as its users write them are what our own keys take', () => {
    const { settings } = read(
      'reserveMemory: 6G\nartifactLimit: 512Mi\nimageAge: 60\nimageRoom: 20%\nlabels: [1.10, 007]\n',
    );
    expect(settings.get('reserveMemory')).toBe(6 * 2 ** 30);
    expect(settings.get('artifactLimit')).toBe(512 * 2 ** 20);
    expect(settings.get('imageAge')).toBe(60_000);
    expect(settings.get('imageRoom')).toBe(20);
    expect(settings.get('labels')).toEqual(['1.10', '007']);
  });

  it('more hosts than addresses may be known are left to the mesh', () => {
    const many = Array.from(
      { length: 20 },
      (_, index) => `    - name: m${index}\n      host: 10.0.0.${index + 1}\n`,
    ).join('');
    const text = `runners:\n  cpu:\n${many}`;
    expect(joined(text).peers).toHaveLength(16);
    expect(read(text).notes.filter(({ key, fate }) => key.endsWith('host') && fate === 'mesh')).toHaveLength(4);
  });

  it.each([
    ['version: "1.0"', 'version: "3.0"', 'line 2: version: "3.0" is no version that is known here; write "1.0"'],
    ['http: 8080', 'http: 80800', 'line 8: gitlab.ports.http: "80800" is no port; write a number from 0 to 65535'],
    [
      'preset: homelab',
      'preset: huge',
      'line 12: gitlab.resources.preset: "huge" is none of minimal, homelab, team, beast',
    ],
    ['# cpu: 6', 'cpu: six', 'line 14: gitlab.resources.cpu: "six" is no number of cores; write 6 or 1.5'],
    ['# memory: 6G', 'memory: 6X', 'line 15: gitlab.resources.memory: "6X" is no size; write 512m or 24g'],
    ['enabled: true', 'enabled: perhaps', 'line 18: mirroring.enabled: "perhaps" is neither on nor off'],
    [
      'GITHUB_PAT_MIRROR',
      'ghp_0123456789',
      'line 22: mirroring.sources.github.token_env: this looks like a token; name the variable that holds it, such as GITHUB_TOKEN',
    ],
    ['"0 */6 * * *"', 'often', 'line 26: mirroring.schedule: "often" is no schedule; write "0 */6 * * *"'],
    [
      'http://gitlab.example.lan',
      'gitlab.example.lan',
      'line 6: gitlab.external_url: "gitlab.example.lan" is no http(s) address; write http://gitlab.lan:8080',
    ],
    [
      '192.168.1.170',
      'root@kang',
      'line 31: runners.cpu[0].host: "root@kang" is no host; write 192.168.1.20 or kang.lan',
    ],
    ['executor: docker', 'executor: shell', 'line 32: runners.cpu[0].executor: "shell" is none of docker, process'],
    ['concurrent: 4', 'concurrent: many', 'line 33: runners.cpu[0].concurrent: "many" is no whole number; write 4'],
    [
      'check_interval: 60',
      'check_interval: soon',
      'line 47: health.check_interval: "soon" is no duration; write 90s, 10m or 2h',
    ],
    ['concurrent: 4', 'concurrent: 0', 'line 33: runners.cpu[0].concurrent is maxRuns "0": at least 1'],
    ['concurrent: 4', 'concurent: 4', 'line 33: unknown key "runners.cpu[0].concurent"; did you mean concurrent?'],
    ['  hostname:', '  hostnme:', 'line 5: unknown key "gitlab.hostnme"; did you mean hostname?'],
    ['  schedule:', 'schedule:', 'line 26: unknown key "schedule"; did you mean mirroring.schedule?'],
    ['version: "1.0"', 'nmae: x\nfoo: 1', 'line 2: unknown keys "nmae"; did you mean name?; line 3: "foo"'],
    ['    - type: log', '    type: log', 'line 51: health.notify must be a list: lines that begin with "- ", indented'],
    ['ports:\n', 'ports: 80\n  more:\n', 'line 7: gitlab.ports must be a section: lines "key: value", indented'],
  ] as const)('%s -> %s is refused with its line, what was expected and an example', (before, after, sentence) => {
    const text = seed.replace(before, after);
    expect(text).not.toBe(seed);
    expect(refusal(text, 'homelab-cpu')).toBe(`FILE, ${sentence}`);
  });

  it.each([
    ['mdns: on\nname: Kang!\n', 'line 2: name "Kang!": a name is a-z, 0-9 and -, at most 63 characters'],
    [
      'peers:\n  - kang:70000\n',
      'line 2: peers "kang:70000": an address is host, host:port or /ip4/…/tcp/…, with a port from 1 to 65535',
    ],
    ['new: a name that goes on for more than sixty-three characters, which is too long\n', 'line 1: new: a mesh'],
    ['playGpu: RTX\n', 'line 1: playGpu: "RTX" is not MODEL:SIZE, such as "RTX 3090 Ti:24g"'],
    [
      'engineForJobs: [lab]\n',
      'line 1: engineForJobs "lab": these are projects, GROUP/PROJECT or GROUP/*, or \'*\' for all',
    ],
    [
      'engineForJobs: ["lab/app x"]\n',
      'line 1: engineForJobs "lab/app x": these are projects, GROUP/PROJECT or GROUP/*, or \'*\' for all',
    ],
    ['imageRoom: 91%\n', 'line 1: imageRoom "91": a percentage from 0 (never) to 90'],
    ['imageRoom: much\n', 'line 1: imageRoom: "much" is no percentage; write 15 or 15%'],
    ['reserve-memory: 2g\n', 'line 1: unknown key "reserve-memory"; did you mean reserveMemory?'],
    ['label: a\n', 'line 1: unknown key "label"; did you mean labels?'],
  ])('our own keys are refused so too: %j', (text, sentence) => {
    expect(refusal(text)).toContain(`FILE, ${sentence}`);
  });

  it('docs/interface.md says what becomes of every key', () => {
    const page = readFileSync(new URL('../../docs/interface.md', import.meta.url), 'utf8');
    const table = page.slice(page.indexOf('| key | what becomes of it |'));
    const words = (path: string): string[] => path.replaceAll('[]', '').split('.').slice(0, 2);
    for (const { path, fate } of seedKeys)
      for (const word of [...words(path), ...(fate === 'entry' ? [path.split('.').at(-1) as string] : [])])
        expect([path, new RegExp(`[\x60.]${word}[\x60.]`).test(table)]).toEqual([path, true]);
  });
});
