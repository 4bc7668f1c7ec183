import { execFileSync, spawnSync } from 'node:child_process';
import { randomUUID, scryptSync } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type { User } from '../../gitlab-bridge/practice/records.ts';
import { hideSecrets, isHidden, show } from './secrets-file.ts';

/** `gitlab-rails runner` and `gitlab-rake`: the few words of Ruby that the contract names, and the checks. */
const rows = (sql: string): string[] =>
  execFileSync('gitlab-psql', ['-XqAt', '-c', sql], { encoding: 'utf8', maxBuffer: 1 << 30 })
    .split('\n')
    .filter(Boolean);
const quoted = (text: string): string => `'${text.replaceAll("'", "''")}'`;

/** As `rails runner`: `-` is what comes by stdin, a file's name is that file, else the words themselves. */
const codeOf = (words: string): string => {
  if (words === '-') return readFileSync(0, 'utf8');
  return existsSync(words) ? readFileSync(words, 'utf8') : words;
};

/** `t=User.find_by_username('root').personal_access_tokens.create(scopes:[…],…); t.set_token('…'); t.save!` */
export function runner(words: string): number {
  const code = codeOf(words);
  const version = /^\s*(?:puts|print)\s+Gitlab::VERSION\s*$/.exec(code);
  if (version) {
    console.log(execFileSync('cat', ['/opt/gitlab/VERSION'], { encoding: 'utf8' }).trim());
    return 0;
  }
  const revoked = /where\(name: '([^']+)'\)\.order\(:id\)\.to_a\[0\.\.\.-1\]\.each\(&:revoke!\)/.exec(code)?.[1];
  if (revoked !== undefined) return revokeOlder(revoked);
  const name = /find_by_username\(\s*['"]([\w.-]+)['"]\s*\)\.personal_access_tokens\.create\(/.exec(code)?.[1];
  const token = /\.set_token\(\s*['"]([\w.-]{20,})['"]\s*\)/.exec(code)?.[1];
  if (name === undefined || token === undefined || !/save!/.test(code)) {
    console.error('gitlab-rails (stand-in): only the making of a token is understood (its README says how)');
    return 1;
  }
  const found = rows(`select record from records where name = 'user' and record->>'username' = ${quoted(name)}`)[0];
  if (found === undefined) {
    console.error(`undefined method 'personal_access_tokens' for nil (NoMethodError): no user ${name}`);
    return 1;
  }
  const user = JSON.parse(found) as User;
  const scopes = [...(/scopes:\s*\[([^\]]*)\]/.exec(code)?.[1] ?? '').matchAll(/['":]?([a-z_]+)/g)].map(
    (one) => one[1] as string,
  );
  const id = Math.max(0, ...user.tokens.map((one) => one.id)) + 1;
  user.tokens.push(
    hideSecrets({
      id,
      name: /name:\s*['"]([^'"]+)/.exec(code)?.[1] ?? randomUUID(),
      token,
      scopes,
    }) as User['tokens'][0],
  );
  put(user);
  // Ruby, read by form: `puts '…' if User.find_by_username('…').valid_password?('…')`, behind the making of the token.
  for (const [, said = '', whose = '', password = ''] of code.matchAll(
    /^puts '([^']+)' if User\.find_by_username\('([\w.-]+)'\)\.valid_password\?\('([^']+)'\)$/gm,
  ))
    if (whose === user.username && hasPassword(user, password)) console.log(said);
  return 0;
}

/** Root's first one is seeded in a file until somebody gives another. */
function hasPassword(user: User, password: string): boolean {
  const seeded = '/var/opt/gitlab/gitlab-rails/first-password';
  const first = user.username === 'root' && existsSync(seeded) ? readFileSync(seeded, 'utf8') : undefined;
  const hashed = user.password ?? first;
  const [salt = '', hash] = hashed?.split(':') ?? [];
  return hashed !== undefined && scryptSync(password, salt, 32, { N: 1024 }).toString('hex') === hash;
}

function put(user: User): void {
  rows(`update records set record = ${quoted(JSON.stringify(user))} where name = 'user' and id = ${user.id}`);
  // Puma has its records in memory: it reads them again. GitLab's own console restarts nothing, so it is back before this one ends.
  // Waited for until it is another process: sv gives up after 7 s by itself, and the one that answers then is about to go.
  spawnSync('sv', ['-w', '120', 'restart', '/opt/gitlab/service/puma'], { stdio: 'ignore' });
  const back =
    'for i in $(seq 300); do curl -s -o /dev/null -m 5 http://127.0.0.1:8080/users/sign_in && exit; sleep 0.1; done';
  spawnSync('sh', ['-c', back], { stdio: 'ignore' });
}

/** All of that name but the newest. */
function revokeOlder(name: string): number {
  for (const row of rows("select record from records where name = 'user'")) {
    const user = JSON.parse(row) as User;
    const newest = Math.max(...user.tokens.filter((one) => one.name === name).map((one) => one.id));
    const kept = user.tokens.filter((one) => one.name !== name || one.id === newest);
    if (kept.length < user.tokens.length) put({ ...user, tokens: kept });
  }
  return 0;
}

function secrets(): number {
  const bad: string[] = [];
  for (const row of rows("select name || ' ' || id || ' ' || record::text from records")) {
    const [name, id] = row.split(' ');
    for (const [, text = ''] of row.matchAll(/"(encrypted:[^"]+)"/g))
      if (isHidden(text) && show(text) === null) bad.push(`${name} ${id}`);
  }
  for (const one of new Set(bad)) console.log(`- ${one} failures: 1`);
  console.log(`Total: ${bad.length} row(s) affected`);
  return bad.length === 0 ? 0 : 1;
}

function repositories(): number {
  const place = '/var/opt/gitlab/git-data/repositories';
  let code = 0;
  for (const name of readdirSync(place, { recursive: true, encoding: 'utf8' }).filter((one) => /\.git$/.test(one))) {
    const done = spawnSync('git', ['-c', 'safe.directory=*', '-C', `${place}/${name}`, 'fsck', '--full'], {
      encoding: 'utf8',
    });
    if (done.status !== 0) code = 1;
    console.log(`${name}: ${done.status === 0 ? 'ok' : done.stderr.trim()}`);
  }
  return code;
}

export function rake(task: string): number {
  if (task === 'gitlab:doctor:secrets') return secrets();
  if (task === 'gitlab:git:fsck') return repositories();
  if (task === 'gitlab:check') {
    const checks: [string, string[]][] = [
      ['Database', ['gitlab-psql', '-c', 'select 1']],
      ['Redis', ['gitlab-redis-cli', 'ping']],
      ['GitLab', ['gitlab-healthcheck', '--fail', '--max-time', '10']],
    ];
    let code = 0;
    for (const [what, [program = '', ...args]] of checks) {
      const isGood = spawnSync(program, args, { stdio: 'ignore' }).status === 0;
      if (!isGood) code = 1;
      console.log(`${what}: ... ${isGood ? 'yes' : 'no'}`);
    }
    return code;
  }
  console.error(
    `Don't know how to build task '${task}' (stand-in: gitlab:check, gitlab:doctor:secrets, gitlab:git:fsck)`,
  );
  return 1;
}
