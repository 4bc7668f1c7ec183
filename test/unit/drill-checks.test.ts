import { expect, it } from 'vitest';
import { database, inTime, ownChecks, refs, secrets } from '../../node/hosting/drill/drill-checks.ts';
import { AutogitError } from '../../protocol/errors.ts';

/** What GitLab's own programs say, as its documents show it, and what a drill makes of it. */
const says = (out: string, code = 0) => ({ folders: {} as never, exec: async () => ({ code, out }) });

const wellOutput = `Checking GitLab subtasks ...
Git configured correctly? ... yes
Database config exists? ... yes
Database contains orphaned GroupMembers? ... no
GitLab config outdated? ... no
Running? ... \u001b[32myes\u001b[0m
Checking GitLab subtasks ... Finished
`;

it('a "no" of gitlab:check is wrong where GitLab gives advice, or where it fails', async () => {
  expect(await ownChecks(says(wellOutput))).toEqual({ state: 'ok', sentence: 'gitlab:check finds nothing wrong' });
  const advice =
    'Uploads directory has correct permissions? ... \u001b[31mno\u001b[0m\n  Try fixing it:\n  sudo chmod 700 uploads\n';
  expect(await ownChecks(says(`${wellOutput}${advice}`))).toEqual({
    state: 'warn',
    sentence: 'gitlab:check says: Uploads directory has correct permissions? ... no',
  });
  expect(await ownChecks(says('Redis: ... no\nDatabase: ... yes\n', 1))).toEqual({
    state: 'fail',
    sentence: 'gitlab:check fails: Redis: ... no',
  });
  expect(await ownChecks(says('', 137))).toMatchObject({
    state: 'fail',
    sentence: 'gitlab:check fails with exit code 137',
  });
});

it('what did not say that it looked at all has proved nothing', async () => {
  expect(await secrets(says('rake aborted!\nPG::ConnectionBad: no connection\n', 1))).toEqual({
    state: 'fail',
    sentence: 'gitlab:doctor:secrets fails with exit code 1: PG::ConnectionBad: no connection',
  });
  expect(await secrets(says('INFO -- : Total: 0 row(s) affected\n'))).toMatchObject({ state: 'ok' });
  const paths = ['/var/opt/gitlab/git-data/repositories/a.git', '/var/opt/gitlab/git-data/repositories/b.git'];
  expect(await refs(says('done 1\n'), paths, () => undefined)).toMatchObject({ state: 'fail' });
  expect(await refs(says('done 2\n'), paths, () => undefined)).toMatchObject({ state: 'ok' });
  expect(await refs(says(`bad\t${paths[1]}\tfatal: bad\ndone 2\n`), paths, () => undefined)).toEqual({
    state: 'fail',
    sentence: 'a repository has refs that lead nowhere: b.git (fatal: bad)',
  });
  expect(await database(says('sh: pg_dump: not found\n', 127))).toMatchObject({ state: 'fail' });
});

it('a check that does not end in its time has failed; an engine that is away is no verdict', async () => {
  const late = Promise.reject(new AutogitError('timed-out', 'gitlab-rake: no end within 900 s'));
  expect(await inTime(late)).toEqual({ state: 'fail', sentence: 'gitlab-rake: no end within 900 s' });
  await expect(inTime(Promise.reject(new AutogitError('no-docker', 'away')))).rejects.toThrow('away');
});
