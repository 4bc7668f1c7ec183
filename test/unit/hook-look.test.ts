import { expect, test } from 'vitest';
import { hooksFolderOf } from '../../node/hosting/push/hook-look.ts';

test.each([
  ['none', 'socket_path = "/run/gitaly.socket"\n', null],
  ['in its section', 'x = 1\n[hooks]\ncustom_hooks_dir = "/opt/autogit-node"\n[git]\n', '/opt/autogit-node'],
  ['in single quotes', "[hooks]\n  custom_hooks_dir='/opt/a'\n", '/opt/a'],
  ['of another section', '[gitlab]\ncustom_hooks_dir = "/opt/autogit-node"\n', null],
  ['as a dotted key', 'hooks.custom_hooks_dir = "/opt/a"\n', '/opt/a'],
  ['a comment', '[hooks]\n# custom_hooks_dir = "/opt/autogit-node"\n', null],
  ['behind a list of tables', '[[storage]]\nname = "default"\n[hooks]\ncustom_hooks_dir = "/b"\n', '/b'],
])("Gitaly's folder of hooks: %s", (_, toml, folder) => {
  expect(hooksFolderOf(toml)).toBe(folder);
});
