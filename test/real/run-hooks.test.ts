import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { JobPayload } from '../../gitlab-bridge/payload.ts';
import { hookScript } from '../../node/runs/job-script.ts';
import { plainText, RunLab, until } from './run-lab.ts';

/** `hooks:` of a job, as the practice GitLab sends them, with the process executor. */
let lab: RunLab;
afterEach(() => lab?.stop());

/** Of a process; nobody may have waited for one that has ended. */
function stateOf(pid: string): string {
  try {
    return /^State:\s+(\w)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '';
  } catch {
    return 'gone';
  }
}

describe('a job’s hook before its sources', () => {
  it('runs where no tree is yet, in its section, masked, with the job’s variables; what it leaves in the tree is gone', async () => {
    lab = await RunLab.start({
      '.gitlab-ci.yml': `
default:
  hooks: { pre_get_sources_script: ['echo "usual $WORD in $PWD"', 'echo "token $CI_JOB_TOKEN"', 'ls -A "$CI_PROJECT_DIR" | wc -l', 'touch "$CI_PROJECT_DIR/planted" "$CI_PROJECT_DIR/.planted"', 'echo HANDED=on >> "$GITLAB_ENV"'] }
usual: { variables: { WORD: said }, script: ['echo "script: $HANDED $(ls -A | tr "\\n" " ")"'], after_script: ['echo after'] }
own: { hooks: { pre_get_sources_script: ['git config --global some.name value; exit 0'] }, script: ['echo own'] }
none: { variables: { GIT_STRATEGY: none }, script: ['echo no sources'] }
`,
      'data.txt': 'x',
    });
    await lab.agent();
    const traces = new Map<string, string>();
    for (let at = 0; at < 3; at++) {
      const ended = await lab.ended(await lab.begin());
      const raw = await lab.traceAt(ended);
      expect(ended.result, raw).toMatchObject({ state: 'success' });
      expect(lab.gitlab.job(ended.job)).toMatchObject({ traceCheck: 'match' });
      traces.set(ended.name, raw);
    }
    const usual = plainText(traces.get('usual') ?? '');
    expect(usual).toMatch(/\$ echo "usual \$WORD in \$PWD"\nusual said in \S+builds\n/);
    expect(usual).toContain('token [MASKED]\n');
    expect(usual).toMatch(/wc -l\n0\n/);
    expect(usual).toContain('script: on .git .gitlab-ci.yml data.txt \n');
    const section = /section_start:\d+:get_sources\r[\s\S]*section_end:\d+:get_sources\r/.exec(
      traces.get('usual') ?? '',
    );
    expect(section?.[0]).toMatch(/usual said[\s\S]*Checked out/);
    expect(usual).not.toContain('sets something for git');
    const own = plainText(traces.get('own') ?? '');
    expect(own).not.toContain('usual');
    expect(own).toContain('WARNING: a hook sets something for git: sources are fetched by the agent');
    expect(plainText(traces.get('none') ?? '')).not.toContain('usual');
  });

  it('has a home of its own in a container, and goes on where the image has no git', () => {
    const folder = mkdtempSync(join(tmpdir(), 'autogit-hook-'));
    const hooks = [{ name: 'pre_get_sources_script', script: ['git config --global a.b c', 'echo "home $HOME"'] }];
    const payload = JobPayload.parse({ id: 7, token: 't', job_info: { project_id: 1 }, hooks });
    const place = { projectDir: join(folder, 'p'), buildsDir: folder, homeDir: join(folder, 'home'), isEmptied: true };
    const script = hookScript(payload, { name: 'pre_get_sources_script', ...place }, []).join('\n');
    mkdirSync(join(folder, 'bin'));
    for (const program of ['mkdir', 'rm'])
      symlinkSync(
        execFileSync('sh', ['-c', `command -v ${program}`], { encoding: 'utf8' }).trim(),
        join(folder, 'bin', program),
      );
    mkdirSync(place.projectDir);
    writeFileSync(join(place.projectDir, '.left'), '');
    const env = { PATH: join(folder, 'bin') };
    const said = execFileSync('/bin/sh', ['-e', '-c', `exec 2>&1\n${script}`], { env, encoding: 'utf8' });
    expect(said).toContain('WARNING: the image has no git, so this is left out: git config --global a.b c\n');
    expect(said).toContain(`home ${folder}/home\n`);
    expect(readdirSync(place.projectDir)).toEqual([]);
    rmSync(folder, { recursive: true });
  });

  it('fails the job with its exit code, after as many tries as the job says; nothing of the script runs', async () => {
    lab = await RunLab.start({
      '.gitlab-ci.yml': `
once: { hooks: { pre_get_sources_script: ['echo trying', 'exit 7'] }, script: ['echo never'], after_script: ['echo neither'] }
later:
  variables: { GET_SOURCES_ATTEMPTS: "3" }
  hooks: { pre_get_sources_script: ['echo trying >> "$CI_BUILDS_DIR/tries"', '[ "$(wc -l < "$CI_BUILDS_DIR/tries")" -ge 3 ] || false'] }
  script: ['wc -l < "$CI_BUILDS_DIR/tries"; ls']
`,
      'data.txt': 'x',
    });
    await lab.agent();
    const once = await lab.ended(await lab.begin());
    const text = plainText(await lab.traceAt(once));
    expect(once.result, text).toMatchObject({ state: 'failed', exitCode: 7, reason: 'script_failure' });
    expect(once.result?.because).toBe('pre_get_sources_script: exit code 7');
    expect(text.match(/^trying$/gm)).toHaveLength(1);
    expect(text).not.toMatch(/never|neither|Fetching/);
    const later = await lab.traceOfNext();
    expect(later).toContain('WARNING: pre_get_sources_script: exit code 1; try 2 of 3\n');
    expect(later).toContain('; try 3 of 3\n');
    expect(later).toMatch(/\n3\ndata\.txt\n/);
  });

  it('is ended by a cancel, and by an agent that begins anew, which loses nothing that it had printed; it then runs once more', async () => {
    const marks = join(mkdtempSync(join(tmpdir(), 'autogit-hook-')), 'marks');
    lab = await RunLab.start({
      '.gitlab-ci.yml': `
canceled: { hooks: { pre_get_sources_script: ['while :; do echo waiting; sleep 0.2; done'] }, script: ['echo never'] }
again: { hooks: { pre_get_sources_script: ['echo $$ >> ${marks}; n=$(wc -l < ${marks}); echo "try $n"; until [ -e ${marks}.go ]; do sleep 0.05; done; printf "after $n"; touch ${marks}.$n; [ "$n" -gt 2 ] || sleep 600'] }, script: ['echo done'] }
`,
    });
    await lab.agent();
    const canceled = await lab.begin();
    await until('the hook', async () => (await lab.traceAt(canceled)).includes('waiting\n'));
    await lab.admin.cancelJob(lab.projectId, canceled.job);
    const ended = await lab.ended(canceled);
    const text = plainText(await lab.traceAt(canceled));
    expect(ended.result, text).toMatchObject({ state: 'canceled' });
    expect(text).not.toMatch(/abandoned|never/);
    const again = await lab.begin();
    await until('the hook', () => existsSync(marks) && readFileSync(marks, 'utf8').endsWith('\n'));
    await lab.stopAgent();
    // Printed while no agent is there to read it.
    writeFileSync(`${marks}.go`, '');
    await until('its last word', () => existsSync(`${marks}.1`));
    await lab.agent();
    await until('the second try', () => existsSync(`${marks}.2`));
    await lab.stopAgent();
    await lab.agent();
    const last = await lab.ended(again);
    const words = plainText(await lab.traceAt(again));
    expect(last.result, words).toMatchObject({ state: 'success' });
    const pids = readFileSync(marks, 'utf8').trim().split('\n');
    expect(pids).toHaveLength(3);
    for (const pid of pids) expect(stateOf(pid)).toMatch(/^(?:gone|Z)$/);
    expect(words.match(/^\$ echo \$\$ >>/gm)).toHaveLength(3);
    for (const n of [1, 2, 3]) expect(words.match(new RegExp(`^try ${n}\nafter ${n}\n`, 'gm')), words).toHaveLength(1);
    expect(words.match(/restarted: preparing again/g)).toHaveLength(2);
    rmSync(dirname(marks), { recursive: true });
  });
});
