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

test.each(['gitlab.lan', 'kang', '192.168.1.10', 'fd.example.org', 'a-b.c'])('%s is a name for GitLab', (name) => {
  expect(typed(name)).toBe(name);
});

test.each([
  ['https://git.lan', /^--hostname: "https:\/\/git.lan" is an address for https; .*proxy.*the name alone, git.lan$/],
  ['https://[fd00::1]/', /is an address for https/],
  ['http://git.lan:8080', /is more than a name; write the name alone, git.lan, and its port by --port/],
  ['git.lan:8080', /is more than a name/],
  ['git.lan/gitlab', /is more than a name/],
  ['fd00::1', /is an address of IPv6.*a name of your DNS/],
  ['[fe80::1%eth0]:8080', /is an address of IPv6/],
  ['::1', /is an address of IPv6/],
  ['http://[fd00::1]:8080', /is an address of IPv6/],
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
  expect(() => load('gitlab:\n  hostname: https://git.lan\n')).toThrow(/line 2: gitlab.hostname: "https.*for https/);
  for (const url of ['https://git.lan', 'http://[fd00::1]:8080']) {
    const settings = load(`gitlab:\n  external_url: ${url}\n`);
    expect([settings.text('gitlab.hostname'), settings.notes]).toMatchObject([null, [{ fate: 'not yet', line: 2 }]]);
  }
  rmSync(folder, { recursive: true });
});
