import { describe, expect, it } from 'vitest';
import { noGitlabWords } from '../../node/agent/terminal.ts';
import { gitlabFindings, leftFindings } from '../../node/doctor/gitlab-check.ts';
import { externalUrlIn, type GitlabHere } from '../../node/machine/gitlab-here.ts';

const here = (over: Partial<GitlabHere> = {}): GitlabHere => ({
  container: 'gitlab',
  version: '17.5.1',
  isRunning: true,
  status: 'Up 3 days (healthy)',
  url: 'http://gitlab.lan:8929',
  isLocalOnly: false,
  data: '/srv/gitlab/data',
  ...over,
});

describe('a GitLab of this machine', () => {
  it('is named with the command that connects it, until the mesh has one', () => {
    const sentence =
      'GitLab 17.5.1 runs here in container gitlab, at http://gitlab.lan:8929; its data: /srv/gitlab/data';
    const fix =
      'autogit-node gitlab connect http://gitlab.lan:8929 --token-env VAR; to have the mesh run it: autogit-node gitlab adopt gitlab; to have it backed up as it is: autogit-node gitlab protect --to /mnt/disk/gitlab';
    expect(gitlabFindings([here()], true)).toEqual([{ what: 'gitlab', state: 'ok', sentence, fix }]);
    expect(gitlabFindings([here()], false)).toEqual([{ what: 'gitlab', state: 'ok', sentence, fix: null }]);
    const protect = 'autogit-node gitlab protect --to /mnt/disk/gitlab';
    expect(gitlabFindings([here()], false, true)).toEqual([{ what: 'gitlab', state: 'ok', sentence, fix: protect }]);
    expect(gitlabFindings([], true)).toMatchObject([{ sentence: 'none connected' }]);
    expect(gitlabFindings([], false)).toEqual([]);
  });

  it('is named when a mesh without one is joined, with what takes its jobs and what backs it up', () => {
    const more = [
      '-> back up the one that is here: autogit-node gitlab protect --to DIR',
      '-> or have the mesh run it: autogit-node gitlab adopt gitlab',
    ];
    expect(noGitlabWords([here()]).split('\n')).toEqual([
      'no GitLab yet, and one runs here',
      '-> take its jobs: autogit-node gitlab connect http://gitlab.lan:8929',
      ...more,
    ]);
    const none = [
      'no GitLab yet',
      '-> let the mesh run one: autogit-node gitlab deploy',
      '-> or take jobs from yours: autogit-node gitlab connect URL',
    ];
    expect(noGitlabWords([]).split('\n')).toEqual(none);
    expect(noGitlabWords([here({ isRunning: false })]).split('\n')).toEqual(none);
    // Reached from this machine alone, it can be backed up or taken over all the same; the package cannot.
    expect(noGitlabWords([here({ isLocalOnly: true })]).split('\n')).toEqual([...none, ...more]);
    expect(noGitlabWords([here({ container: null })])).not.toContain('protect');
  });

  it('that does not run, or that nobody else reaches, says what helps', () => {
    const [stopped] = gitlabFindings([here({ isRunning: false, status: 'Exited (137) 2 days ago' })], true);
    expect(stopped).toMatchObject({ state: 'warn', fix: 'docker start gitlab' });
    expect(stopped?.sentence).toMatch(/does not run \(Exited \(137\) 2 days ago\)/);
    expect(gitlabFindings([here({ isLocalOnly: true })], true)).toMatchObject([
      { state: 'warn', fix: expect.stringContaining('without 127.0.0.1 in front') },
    ]);
    expect(gitlabFindings([here({ container: null, data: null, url: null })], true)).toMatchObject([
      {
        sentence: 'GitLab 17.5.1 is installed here as a package',
        fix: 'autogit-node gitlab connect URL --token-env VAR',
      },
    ]);
  });

  it('that was taken over is named as what is kept, and not to be started', () => {
    expect(gitlabFindings([here({ container: 'gitlab-before-autogit', isRunning: false })], false)).toMatchObject([
      { state: 'ok', fix: expect.stringContaining('docker rm gitlab-before-autogit') },
    ]);
  });

  it('that a mesh left behind is named with what ends it; that of the own mesh is no matter', () => {
    const one = { container: 'autogit-gitlab-k3v9', mesh: 'm1', data: '/srv/gitlab/live/data' };
    const left = {
      state: 'warn',
      sentence: expect.stringContaining('autogit-gitlab-k3v9 is the GitLab of a mesh that this machine is not in'),
      fix: 'docker rm -f autogit-gitlab-k3v9; its data stay in /srv/gitlab/live/data',
    };
    const runs = (mesh: string | null) => ({ mesh, isRunning: true });
    expect(leftFindings([one], runs('m1'), false)).toEqual([]);
    expect(leftFindings([one], runs('m2'), false)).toMatchObject([left]);
    const none = { mesh: null, isRunning: false };
    expect(leftFindings([one], none, true)).toMatchObject([left]);
    expect(leftFindings([one], none, false)).toMatchObject([
      { sentence: expect.stringContaining('no agent runs here'), fix: 'start the agent: autogit-node join' },
    ]);
    // One runs, and looks for a mesh or waits to be let in.
    expect(leftFindings([one], runs(null), false)).toMatchObject([
      {
        sentence: expect.stringContaining("this machine's agent is in none yet"),
        fix: expect.stringMatching(
          /^let this machine into that mesh; .*docker rm -f autogit-gitlab-k3v9; its data stay/,
        ),
      },
    ]);
    expect(leftFindings([one], runs(null), true)).toMatchObject([left]);
  });

  it('calls itself by the last external_url that counts', () => {
    expect(externalUrlIn('external_url \'http://old.lan\'\n  external_url("https://gitlab.lan:8443/") # ours')).toBe(
      'https://gitlab.lan:8443',
    );
    expect(externalUrlIn("gitlab_rails['time_zone'] = 'UTC'; external_url 'http://gitlab.lan/git'; x=1")).toBe(
      'http://gitlab.lan/git',
    );
    const none = [
      '',
      "# external_url 'http://gitlab.example.com'",
      'external_url ENV["HERE"]',
      "external_url 'ftp://gitlab.lan'",
      "external_url 'http://root:secret@gitlab.lan'",
      "registry_external_url 'http://registry.lan'",
    ];
    expect(none.map(externalUrlIn)).toEqual(none.map(() => null));
    expect(externalUrlIn('\n'.repeat(1 << 20))).toBeNull();
  });
});
