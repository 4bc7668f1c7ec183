import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { joinOptions } from '../../node/settings/join-options.ts';
import { resolveSettings } from '../../node/settings/settings.ts';
import { readSettingsFile } from '../../node/settings/settings-file.ts';
import { flags } from '../../node/settings/settings-table.ts';
import { settingsTemplate } from '../../node/settings/settings-template.ts';

let dir: string;
let file: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'autogit-file-'));
  file = join(dir, 'autogit.yml');
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function read(text: string | Buffer) {
  writeFileSync(file, text);
  return readSettingsFile(file, true);
}
const values = (text: string | Buffer) => Object.fromEntries(read(text).values);

describe('a text that is no autogit.yml is refused with its line, and the way out', () => {
  it.each([
    ['a tab', 'jobs:\n\tall: on\n', /^FILE, line 2: this is no YAML: Tabs/, /spaces/],
    [
      'a key twice',
      'name: a\nmdns: on\nname: b\n',
      /^FILE, line 3: "name" stands here again, after line 1$/,
      /one of them/,
    ],
    [
      'a key twice in a section',
      'jobs:\n  all: on\n  all: off\n',
      /^FILE, line 3: "all" stands here again/,
      /one of them/,
    ],
    ['an alias', 'labels: &l [a]\npeers: *l\n', /^FILE, line 2: \*l is not followed here$/, /the value itself/],
    [
      'aliases that stand for gigabytes',
      `a: &a [x]\n${Array.from('bcdefghij', (name, at) => `${name}: &${name} [${`*${'abcdefghi'[at]},`.repeat(9)}]\n`).join('')}`,
      /^FILE, line 2: \*a is not followed here$/,
      /the value itself/,
    ],
    ['two documents', 'name: a\n---\nname: b\n', /^FILE, line [23]: this is no YAML: a second document/, /---/],
    ['a tag', 'name: !secret x\n', /^FILE, line 1: this is no YAML: Unresolved tag: !secret/, /quotes/],
    ['no space behind the colon', 'name:a\nmdns: on\n', /^FILE, line 1: this is no YAML/, /space behind the colon/],
    ['a list as key', '? [a]\n: b\n', /^FILE, line 1: a key is a word/, /correct/],
    [
      'a level too deep',
      `labels: ${'['.repeat(14)}${']'.repeat(14)}\n`,
      /^FILE, line 1: is nested too deeply/,
      /correct/,
    ],
    ['thousands of levels', '['.repeat(20_000), /^FILE, line 1: is nested too deeply/, /correct/],
    ['UTF-16', Buffer.from('\ufeffname: a\n', 'utf16le'), /^FILE is not UTF-8$/, /iconv/],
    [
      'UTF-16 without a mark',
      Buffer.from('name: a\n', 'utf16le'),
      /^FILE, line 1: the control character 0x00/,
      /iconv/,
    ],
    ['Latin-1', Buffer.from('name: gr\xf6\xdfe\n', 'latin1'), /^FILE is not UTF-8$/, /iconv/],
    ['a control character', 'mdns: on\nname: a\x1bb\n', /^FILE, line 2: the control character 0x1b/, /iconv/],
    ['a list of lists', 'labels: [[a], b]\n', /^FILE, line 1: labels must be a text, a number/, /correct/],
    ['a section for a value', 'name:\n  first: x\n', /^FILE, line 2: name must be a text/, /correct/],
    ['a value for a section', 'jobs: on\n', /^FILE, line 1: jobs must be a section/, /correct/],
    ['a thousand items', `labels: [${'a,'.repeat(1001)}]\n`, /^FILE, line 1: labels must be/, /correct/],
    [
      'a quarter of a MiB',
      `# ${'x'.repeat(256 << 10)}\n`,
      /^FILE is too large: settings have at most 256 KiB$/,
      /correct/,
    ],
  ] as [string, string | Buffer, RegExp, RegExp][])('%s', (_what, text, sentence, fix) => {
    let refused: { code?: string; message?: string; hint?: string } = {};
    try {
      read(text);
    } catch (error) {
      refused = error as typeof refused;
    }
    expect(refused.code).toBe('bad-config');
    expect(refused.message?.replace(file, 'FILE')).toMatch(sentence);
    expect(refused.hint).toMatch(fix);
  });

  it('what editors and Windows leave in a text is no fault', () => {
    expect(values('\ufeffname: kang\r\nlabels:\r\n  - größe\r\n')).toEqual({ name: 'kang', labels: ['größe'] });
    expect(values('')).toEqual({});
    expect(values('# nothing\n')).toEqual({});
    expect(values('---\nname: kang\n...\n')).toEqual({ name: 'kang' });
    expect(values('name:\njobs:\nrunners:\n  cpu: []\n')).toEqual({});
  });

  it('a folder, a pipe or a device at that place is said, and nobody waits for it', () => {
    const refusal = (path: string, isNamed = true): unknown => {
      try {
        return readSettingsFile(path, isNamed);
      } catch (error) {
        return (error as Error).message.replace(dir, 'DIR');
      }
    };
    mkdirSync(join(dir, 'folder'));
    execFileSync('mkfifo', [join(dir, 'pipe')]);
    symlinkSync('nowhere', join(dir, 'link'));
    expect(refusal(join(dir, 'folder'))).toBe('DIR/folder is a folder, not a file');
    expect(refusal(join(dir, 'pipe'))).toBe('DIR/pipe is a pipe, a socket or a device, not a file');
    expect(refusal('/dev/zero')).toBe('/dev/zero is a pipe, a socket or a device, not a file');
    expect(refusal(join(dir, 'link'))).toMatch(/^DIR\/link cannot be read: ENOENT/);
    expect(refusal(join(dir, 'missing'), false)).toMatchObject({ values: new Map() });
  });
});

/** Said to one command or for one moment. A new flag belongs here, or into the file. */
const momentaryKeys: ReadonlySet<string> = new Set([
  ...['config', 'configForce', 'new', 'pair', 'invite', 'switch', 'service', 'playGpu', 'inviteFor'],
  ...flags
    .map(({ key }) => key)
    .filter((key) =>
      /^(status|settings|jobs|logs|cancel|approve|pause|resume|recover|demo|practice|events|audit|support|top|page|notify)\./.test(
        key,
      ),
    ),
  ...['gitlab.runnerTokenEnv', 'gitlab.tags', 'gitlab.now', 'gitlab.force', 'serviceSystem', 'serviceUser'],
  ...[
    'fallback.out',
    'fallback.end',
    'gitlab.on',
    'gitlab.deleteData',
    'gitlab.cancel',
    'gitlab.to',
    'gitlab.recoveryKeyEnv',
    'gitlab.showRecoveryKey',
  ],
  ...['gitlab.all', 'gitlab.at', 'gitlab.end', 'gitlab.project', 'gitlab.rehearse', 'gitlab.rehearsal'],
]);

describe('the file that config init writes', () => {
  const gpus = [{ model: 'RTX 3090 Ti\u001b[31m', memoryBytes: 24 * 2 ** 30 }];
  const facts = { host: 'Kang.lan', version: '1.2.3', cores: 16, memoryBytes: 64 * 2 ** 30, gpus };
  const text = settingsTemplate(facts);
  const settingsOf = (written: string) => {
    const { values: said, places, notes } = read(written);
    return {
      said,
      notes,
      settings: resolveSettings({ command: 'join', given: {}, env: {}, file: said, fileName: file, places }),
    };
  };

  it('has every setting that lasts, with its flag and its variable', () => {
    let section = '';
    const written = new Set<string>();
    for (const [, indent, word = '', rest] of text.matchAll(/^#( {2})?([a-zA-Z]\w*):(| .*)$/gm)) {
      if (indent) written.add(`${section}.${word}`);
      else if (rest === '') section = word;
      else written.add(word);
    }
    expect([...written].sort()).toEqual(
      flags
        .map(({ key }) => key)
        .filter((key) => !momentaryKeys.has(key))
        .concat('gitlab.users', 'gitlab.groups')
        .sort(),
    );
    for (const key of momentaryKeys) expect(flags.map((flag) => flag.key)).toContain(key);
  });

  it('says nothing, and warns of nothing, before a # is taken away', () => {
    const { said, notes } = settingsOf(text);
    expect([said.size, notes.length]).toEqual([0, 0]);
    expect(text).toMatch(/^# Seen on this machine: 16 cores, 64 GiB of memory\n# GPU: RTX 3090 Ti \[31m \(24 GiB\)$/m);
    expect(text.split('\n').filter((line) => line.length > 100)).toEqual([]);
  });

  it('loads with every # taken away, and then says the defaults', () => {
    const { said, notes, settings } = settingsOf(text.replace(/^#(?=\S| {2}\w+: \S)/gm, ''));
    expect(said.size).toBe(flags.length - momentaryKeys.size);
    expect(notes.filter(({ fate }) => fate !== 'obeyed')).toEqual([]);
    joinOptions(settings);
    const defaults = resolveSettings({ command: 'join', given: {}, env: {}, file: new Map(), fileName: file });
    for (const { key, value, source } of defaults.entries()) {
      const flag = flags.find((one) => one.key === key);
      if (momentaryKeys.has(key) || source !== 'default' || (flag?.default === undefined && flag?.kind !== 'switch'))
        continue;
      expect([key, settings.get(key), settings.source(key)]).toEqual([key, value, 'file']);
    }
  });
});
