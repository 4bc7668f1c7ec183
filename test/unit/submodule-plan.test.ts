import { describe, expect, it } from 'vitest';
import { JobPayload } from '../../gitlab-bridge/payload.ts';
import { foreignAddress } from '../../node/runs/foreign-address.ts';
import { submoduleSpec } from '../../node/runs/job-script.ts';
import { addressOfModule, fixOfRefused, isWanted, submodulesOf } from '../../node/runs/submodule-plan.ts';

const listed = (...modules: [name: string, path: string, url: string][]): string =>
  modules
    .flatMap(([name, path, url]) => [`submodule.${name}.path\n${path}\0`, `submodule.${name}.url\n${url}\0`])
    .join('');

describe('what .gitmodules says', () => {
  it('is names, paths and addresses, and nothing that leads out of the tree or into git’s own', () => {
    const text = `${listed(['a.b c', 'libs/a', '../a.git'])}submodule.a.b c.update\n!rm -rf /\0submodule.half.path\nx\0core.hookspath\n/x\0`;
    expect(submodulesOf(text)).toEqual([{ name: 'a.b c', path: 'libs/a', url: '../a.git' }]);
    for (const path of [
      '../x',
      '/etc',
      'a/../../b',
      '.git/modules',
      'a/.GIT/x',
      'a/.git. /x',
      'git~1/x',
      'a//b',
      '',
      'a\\b',
      'a"b',
      'a\nb',
    ])
      expect(() => submodulesOf(listed(['n', path, '../n.git'])), path).toThrow(/at a path that is none/);
    expect(submodulesOf(listed(['a"]\n[core', 'x', '../n.git']))).toEqual([]);
    expect(() => submodulesOf(listed(['a"b', 'x', '../n.git']))).toThrow();
    expect(() => submodulesOf(listed(['a', 'x', '../n.git'], ['b', 'x', '../n.git']))).toThrow(
      /two submodules at one path/,
    );
    const many = Array.from({ length: 201 }, (_, at): [string, string, string] => [`n${at}`, `p${at}`, '../n.git']);
    expect(() => submodulesOf(listed(...many))).toThrow(/more than 200/);
  });

  it('is brought where the job wants it', () => {
    expect(isWanted('libs/a', [])).toBe(true);
    expect(['libs/a', 'libs/ab', 'libs', 'other'].map((path) => isWanted(path, ['libs/a', 'other/']))).toEqual([
      true,
      false,
      false,
      true,
    ]);
    expect(isWanted('libs/a/b', ['./libs'])).toBe(true);
    expect([':(exclude)libs/a', "':(exclude)libs'", ':!libs/a'].map((one) => isWanted('libs/a', [one]))).toEqual([
      false,
      false,
      false,
    ]);
    expect(() => isWanted('a', ['lib*'])).toThrow('GIT_SUBMODULE_PATHS takes paths');
  });
});

describe('where a submodule is fetched', () => {
  const own = { url: 'http://10.0.0.2:8929/group/sub/app.git', isOwn: true };
  const at = (url: string, forceHttps = false, parent = own) =>
    addressOfModule(
      { name: 'n', path: 'n', url },
      parent,
      'http://10.0.0.2:8929',
      ['https://gitlab.lab/group/sub/app.git'],
      forceHttps,
    );

  it('counts from what it is in, and never leaves its server that way', () => {
    expect(at('../lib.git')).toEqual({ url: 'http://10.0.0.2:8929/group/sub/lib.git', isOwn: true });
    expect(at('../../../x/lib')).toEqual({ url: 'http://10.0.0.2:8929/x/lib', isOwn: true });
    expect(at('./in.git').url).toBe('http://10.0.0.2:8929/group/sub/app.git/in.git');
    expect(() => at('../../../../x')).toThrow(/leads out of its server/);
    const foreign = { url: 'https://github.com/a/b.git', isOwn: false };
    expect(at('../c.git', false, foreign)).toEqual({ url: 'https://github.com/a/c.git', isOwn: false });
  });

  it('is GitLab as this machine reaches it where GitLab is meant, and gets the token only there', () => {
    expect(at('https://gitlab.lab/x/y.git')).toEqual({ url: 'http://10.0.0.2:8929/x/y.git', isOwn: true });
    expect(at('https://me:secret@github.com/x/y.git')).toEqual({ url: 'https://github.com/x/y.git', isOwn: false });
    // Another port is another server.
    expect(at('https://gitlab.lab:8443/x/y.git').isOwn).toBe(false);
    expect(() => at('file:///etc')).toThrow(/only http and https/);
    expect(() => at('ext::sh -c id')).toThrow();
    expect(() => at('/srv/git/x')).toThrow(/its address is none/);
  });

  it('is by ssh only with the switch that makes https of it', () => {
    expect(() => at('git@gitlab.lab:x/y.git')).toThrow(/write it relative.*GIT_SUBMODULE_FORCE_HTTPS/);
    expect(at('git@gitlab.lab:x/y.git', true)).toEqual({ url: 'http://10.0.0.2:8929/x/y.git', isOwn: true });
    expect(at('ssh://git@gitlab.lab:2222/x/y.git', true)).toEqual({ url: 'http://10.0.0.2:8929/x/y.git', isOwn: true });
    expect(at('git@github.com:x/y.git', true)).toEqual({ url: 'https://github.com/x/y.git', isOwn: false });
  });

  it('is not what only this machine reaches', async () => {
    for (const url of [
      'http://127.0.0.1:7117/x',
      'http://localhost/x',
      'http://[::1]/x',
      'http://0.0.0.0/x',
      'http://169.254.169.254/x',
      'http://[::ffff:127.0.0.1]/x',
      'http://2130706433/x',
    ])
      await expect(foreignAddress(url), url).rejects.toThrow(/this machine itself/);
    expect(await foreignAddress('https://192.0.2.1/x')).toBe('192.0.2.1:443:192.0.2.1');
    expect(await foreignAddress('http://192.0.2.1:81/x')).toBe('192.0.2.1:81:192.0.2.1');
  });
});

it('a job says which submodules it wants, and how deep', () => {
  const asked = (...variables: [string, string][]) =>
    submoduleSpec(
      JobPayload.parse({
        ...{ id: 7, token: 't', job_info: { project_id: 1 }, git_info: { depth: 20 } },
        variables: variables.map(([key, value]) => ({ key, value })),
      }),
    );
  expect(asked()).toBeUndefined();
  expect(asked(['GIT_SUBMODULE_STRATEGY', 'none'])).toBeUndefined();
  expect(asked(['GIT_SUBMODULE_STRATEGY', 'normal'])).toEqual({
    isRecursive: false,
    depth: 20,
    paths: [],
    forceHttps: false,
  });
  expect(
    asked(
      ['GIT_SUBMODULE_STRATEGY', 'recursive'],
      ['GIT_SUBMODULE_DEPTH', '0'],
      ['GIT_SUBMODULE_PATHS', 'a :(exclude)b'],
      ['GIT_SUBMODULE_FORCE_HTTPS', 'true'],
    ),
  ).toEqual({ isRecursive: true, depth: 0, paths: ['a', ':(exclude)b'], forceHttps: true });
});

it('a submodule that its server does not give is told with what to do, by the paths that GitLab shows', () => {
  const gitlab = 'https://home.lab/gitlab/';
  const own = 'https://home.lab/gitlab/lab/app.git';
  const other = { url: 'https://home.lab/gitlab/lab/libs/one.git', isOwn: true };
  const refused = "fatal: unable to access 'https://home.lab/': The requested URL returned error: 403";
  expect(fixOfRefused(refused, other, gitlab, own)).toMatch(
    /may read lab\/libs\/one and .* in lab\/libs\/one, Settings > CI\/CD > Job token permissions, add lab\/app$/,
  );
  expect(fixOfRefused("fatal: repository 'x' not found", other, gitlab, own)).toContain('add lab/app');
  expect(fixOfRefused("fatal: Authentication failed for 'x'", other, gitlab, own)).toContain('add lab/app');
  const foreign = { url: 'https://example.org/one.git', isOwn: false };
  expect(fixOfRefused('fatal: could not read Username', foreign, gitlab, own)).toMatch(/^; no token goes to another/);
  expect(fixOfRefused('fatal: early EOF', other, gitlab, own)).toBe('');
});
