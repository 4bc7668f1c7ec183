import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { resolveSettings } from '../../node/settings/settings.ts';
import { readSettingsFile } from '../../node/settings/settings-file.ts';

const typed = (hostname: string) =>
  resolveSettings({
    command: 'gitlab deploy',
    given: { 'gitlab.hostname': hostname },
    env: {},
    file: new Map(),
    fileName: 'autogit.yml',
  }).text('gitlab.hostname');

test.each([
  'https://git.lan',
  'fd00::1',
  '[fd00::1]',
  'https://[FD00::1]',
  'gitlab.lan',
  'kang',
  '192.168.1.10',
  'fd.example.org',
  'a-b.c',
])('%s is a name for GitLab', (name) => {
  expect(typed(name)).toBe(name);
});

test.each([
  ['https://git.lan:8443', /is more than a name; write https:\/\/git.lan, and its port by --port/],
  ['https://git.lan/', /is more than a name; write https:\/\/git.lan/],
  ['https://[fd00::1]/', /is more than a name; write https:\/\/\[fd00::1\]/],
  ['fe80::1', /no other machine can use/],
  ['[fe80::1%eth0]', /no other machine can use/],
  ['https://[::1]', /no other machine can use/],
  ['[fd00::1]:8080', /is more than a name; write the name alone, \[fd00::1\]/],
  ['fd00::zz', /is more than a name|is no name/],
  ['https://git lan', /is no name of a host/],
  ['http://git.lan:8080', /is more than a name; write the name alone, git.lan, and its port by --port/],
  ['git.lan:8080', /is more than a name/],
  ['git.lan/gitlab', /is more than a name/],
  ['git lan', /is no name of a host; write gitlab.lan/],
  ['-git', /is no name of a host/],
])('--hostname %s is refused in words', (name, words) => {
  expect(() => typed(name)).toThrow(words);
});

test('so it is in autogit.yml, by line; the words of the seed design are a warning', () => {
  const folder = mkdtempSync(join(tmpdir(), 't-hostname-'));
  const file = join(folder, 'autogit.yml');
  const load = (text: string) => {
    writeFileSync(file, text);
    const { values, places, notes } = readSettingsFile(file, true);
    const given = { command: 'gitlab deploy', given: {}, env: {}, fileName: file };
    return resolveSettings({ ...given, file: values, places, notes });
  };
  expect(() => load('gitlab:\n  hostname: git.lan:80\n')).toThrow(/line 2: gitlab.hostname: "git.lan:80" is more/);
  expect(load('gitlab:\n  external_url: http://[fd00::1]:8080\n').text('gitlab.hostname')).toBe('[fd00::1]');
  for (const url of ['https://git.lan', 'http://[fe80::1]:8080']) {
    const settings = load(`gitlab:\n  external_url: ${url}\n`);
    expect([settings.text('gitlab.hostname'), settings.notes]).toMatchObject([null, [{ fate: 'not yet', line: 2 }]]);
  }
  const seed = 'external_url: https://git.lan\n  ports:\n    http: 8080\n    https: 8443\n    ssh: 2222\n';
  const secure = (named: string) => load(`gitlab:\n  tlsCert: a.crt\n  tlsKey: a.key\n${named}  ${seed}`);
  for (const named of ['', '  hostname: git.lan\n']) {
    const { notes } = secure(named);
    expect(notes.filter(({ fate }) => fate !== 'obeyed')).toEqual([]);
  }
  expect([secure('').text('gitlab.hostname'), secure('').number('gitlab.port')]).toEqual(['https://git.lan', 8443]);
  expect(secure('').number('gitlab.httpPort')).toBe(8080);
  expect(secure('  hostname: git.lan\n').text('gitlab.hostname')).toBe('https://git.lan');
  const plain = load(`gitlab:\n  ${seed.replace('https://', 'http://')}`);
  expect([plain.text('gitlab.hostname'), plain.number('gitlab.port')]).toEqual(['git.lan', 8080]);
  rmSync(folder, { recursive: true });
});
