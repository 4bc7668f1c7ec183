import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newInviteCode, writeInviteCode } from '../../node/enrol/invite-code.ts';
import { readTar } from '../../node/executors/tar-format.ts';
import { type SocketServer, serveSocket } from '../../node/local-api/unix-server.ts';
import { places } from '../../node/store/home.ts';
import { cleaned } from '../../node/support/clean-text.ts';
import setUpBundle from '../e2e/bundle.ts';
import { cleanEnv, failing, runCli } from './cli-child.ts';
import { SmallAgent } from './small-agent.ts';

const bare = 'kR7vQ2mX9pL4tB8nZ3cW6yHs5dGf1aJe';
/** Every kind of secret that a home, a log or a name could have, by what it is. */
const planted: Readonly<Record<string, string>> = {
  'personal token': 'glpat-AbCdEfGhIjKlMnOpQrSt',
  'runner token': 'glrt-t1_zyxwvutsrqponmlkjihg',
  'job token': 'glcbt-64_ABCDEFGHIJKLMNOPQRST',
  'old runner token': 'GR1348941ABCDEFGHIJKLMNOPQRS',
  'password in a URL': 'hunter2hunter2',
  'invite code': writeInviteCode(newInviteCode()),
  'mesh key in hex': 'd41d8cd98f00b204e9800998ecf8427ed41d8cd98f00b204e9800998ecf8427e',
  'drawn letters': bare,
  'JSON web token': 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ',
  'bearer of another API': 'plainbearerwords',
  'named in YAML': 'Sommer2026!',
  'named with blanks': 'correct horse battery',
  'key in PEM': 'MIIEvQIBADANBgkqhkiG9w0BAQEFAASC',
  'key of AWS': 'AKIAIOSFODNN7EXAMPLE',
  'token of GitHub': 'ghp_16C7e42F292c6912E7710c838347Ae178B4a',
  'hook of Slack': 'T00000000/B00000000/abcdefghijklmnop',
  'token in a query': 'querysecretvalue',
  'by its variable': 'meinlieblingswort',
  'words to compare': 'coral-sixty-lamp-otter',
  'ntfy token': 'tk_AgQdq7mVBoFD37zQVN29RhuMzNIz2',
  'ntfy topic': 'our-house-and-garden',
};
const of = (kind: string): string => planted[kind] as string;
const logText = [
  `refused ${of('personal token')} and ${of('runner token')}, ${of('job token')}, ${of('old runner token')}`,
  `cloned http://ci:${of('password in a URL')}@git.lan/lab/vision.git; typed join --invite ${of('invite code')}`,
  `sealed with ${of('mesh key in hex')}; ${of('drawn letters')}; ${of('JSON web token')}; ${of('token of GitHub')}`,
  `Authorization: Bearer ${of('bearer of another API')}; posted to https://hooks.slack.com/services/${of('hook of Slack')}`,
  `compare the words ${of('words to compare')} there; GET /x?private_token=${of('token in a query')}&page=2`,
  `export MINE=${of('by its variable')} ${of('key of AWS')} ${of('ntfy token')}`,
];
const yaml = [
  'name: kang',
  'labels: [big]',
  'health:',
  '  notify:',
  '  - type: ntfy',
  `    url: https://ntfy.sh/${of('ntfy topic')}`,
  `# password: ${of('named in YAML')}`,
  `# smtpPassword: "${of('named with blanks')}"`,
  `# -----BEGIN PRIVATE KEY-----`,
  `# ${of('key in PEM')}`,
  `# -----END PRIVATE KEY-----`,
  '',
].join('\n');

let dir: string;
let home: string;
let agent: SmallAgent;
let server: SocketServer;
const env = (): Record<string, string> => cleanEnv(dir, { DEPLOY_TOKEN: of('by its variable') });
beforeAll(async () => {
  setUpBundle();
  dir = mkdtempSync(join(tmpdir(), 'autogit-support-'));
  home = join(dir, 'home');
  mkdirSync(home, { mode: 0o700 });
  writeFileSync(places(home).identity, 'ed25519-key-of-this-machine');
  writeFileSync(places(home).log, logText.map((msg) => `${JSON.stringify({ level: 30, time: 1, msg })}\n`).join(''));
  writeFileSync(join(dir, 'autogit.yml'), yaml);
  agent = new SmallAgent();
  agent.rows = [
    {
      ...{
        job: 12,
        project: 'lab/vision',
        name: `eval ${of('personal token')}`,
        ref: of('drawn letters'),
        tags: ['gpu'],
      },
      ...{
        state: 'running',
        node: 'kang',
        attempt: 1,
        queuedAt: null,
        startedAt: null,
        finishedAt: null,
        exitCode: null,
      },
      because: 'it reads ed25519-key-of-this-machine',
    },
  ];
  server = await serveSocket({ path: places(home).socket, api: agent, log: { warn: () => {}, error: () => {} } });
});
afterAll(async () => {
  await server.close();
  rmSync(dir, { recursive: true, force: true });
});

async function unpacked(path: string): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  async function* bytes() {
    yield gunzipSync(readFileSync(path));
  }
  for await (const entry of readTar(bytes())) {
    const chunks: Uint8Array[] = [];
    for await (const chunk of entry.body) chunks.push(chunk);
    files.set(String(entry.name).replace(/^[^/]*\//, ''), Buffer.concat(chunks).toString());
  }
  return files;
}

describe('a file for a bug report', () => {
  it('has what helps, for its owner alone, and no secret of any kind, wherever it was planted', async () => {
    const file = join(dir, 'report.tar.gz');
    const ended = await runCli(['--home', home, '--config', join(dir, 'autogit.yml'), 'support', '--out', file], env());
    expect(ended.code).toBe(0);
    expect(ended.stdout.trim()).toBe(file);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const files = await unpacked(file);
    expect([...files.keys()]).toEqual(
      expect.arrayContaining([
        ...['README.txt', 'versions.json', 'status.json', 'jobs.json', 'events.json', 'usage.json'],
        ...['config.json', 'autogit.yml', 'doctor.json', 'agent.log', 'home.txt', 'all-machines.log'],
      ]),
    );
    const all = [...files].map(([name, text]) => `${name}\n${text}`).join('\n');
    for (const [kind, secret] of Object.entries(planted)) expect(all.includes(secret) ? kind : null).toBeNull();
    expect(all).not.toContain('ed25519-key-of-this-machine');
    expect(JSON.parse(files.get('jobs.json') ?? '')).toMatchObject([{ job: 12, project: 'lab/vision', node: 'kang' }]);
    expect(JSON.parse(files.get('status.json') ?? '')).toMatchObject({ mesh: { name: 'home' }, seenFrom: 'kang' });
    expect(JSON.parse(files.get('doctor.json') ?? '')).toHaveProperty('findings');
    expect(JSON.parse(files.get('config.json') ?? '')).toHaveProperty('settings');
    expect(files.get('agent.log')).toMatch(/cloned http:\/\/ci:\[redacted\]@git\.lan\/lab\/vision\.git/);
    expect(files.get('autogit.yml')).toContain('name: kang');
    // What is in it is said, file by file, before anybody sends it.
    for (const name of files.keys()) expect(ended.stderr).toContain(name);
    expect(ended.stderr).toMatch(/nothing was sent/);
    expect(ended.stderr).toContain(`tar -xzOf ${file} | less`);
  });

  it('is written without an agent too, with what is there; never over a file', async () => {
    const other = join(dir, 'other');
    mkdirSync(other, { mode: 0o700 });
    const file = join(dir, 'alone.tar.gz');
    const ended = await runCli(['--home', other, 'support', '--out', file, '--json'], env());
    expect(ended.code).toBe(0);
    const said = JSON.parse(ended.stdout) as {
      parts: { name: string; missing: string | null; bytes: number | null }[];
    };
    expect(said.parts.find(({ name }) => name === 'status.json')).toMatchObject({
      ...{ missing: 'no agent runs here', bytes: null },
    });
    expect([...(await unpacked(file)).keys()]).toEqual(
      expect.arrayContaining(['README.txt', 'versions.json', 'config.json', 'doctor.json', 'home.txt']),
    );
    failing(
      2,
      /alone\.tar\.gz cannot be written: it is there already/,
      /support --out FILE/,
    )(await runCli(['--home', other, 'support', '--out', file], env()));
  });
});

describe('what is taken out of a text', () => {
  it.each(Object.entries(planted).filter(([kind]) => kind !== 'by its variable' && kind !== 'ntfy topic'))(
    '%s',
    (kind, secret) => {
      const text = [...logText, yaml].filter((line) => line.includes(secret)).join('\n');
      expect(text).toContain(secret);
      expect(cleaned(text).includes(secret) ? kind : null).toBeNull();
    },
  );

  it.each([
    ['passphrase: hunter2 horse battery', 'passphrase: [redacted]'],
    ['a: 1\n  smtp_password: |\n    hunter2\n    hunter2\nb: 2', 'a: 1\n  smtp_password: |\n    [redacted]\nb: 2'],
    ['tokens:\n  - hunter2\n  - hunter2\nb: 2', 'tokens:\n  [redacted]\nb: 2'],
    ['{"tokens":["hunter2","hunter2"],"a":1}', '{"tokens":[redacted],"a":1}'],
    ["password: 'it''s hunter2'", "password: '[redacted]'"],
    ['DB_PASS=hunter2 MYSQL_PWD="hunter2"', 'DB_PASS=[redacted] MYSQL_PWD="[redacted]"'],
    [
      'ran x --password hunter2 --y; curl -u bob:hunter2 http://x',
      'ran x --password [redacted] --y; curl -u bob:[redacted] http://x',
    ],
    ['sent Authorization: token hunter2', 'sent Authorization: [redacted]'],
    ['POST http://ha.lan/api/webhook/hunter2-hunter2', 'POST http://ha.lan/api/webhook/[redacted]'],
    ['https://api.telegram.org/bot123456:hunter2_hunter2/x', 'https://api.telegram.org/bot[redacted]/x'],
    ['http://127.0.0.1:7118/s/hunter2hunter2hunter22/', 'http://127.0.0.1:7118/s/[redacted]/'],
    ['agk_hunter2hunter2', '[redacted]'],
    ['the password is hunter2.', 'the password is [redacted].'],
    ['The password for root is now "hunter2", he said', 'The password for root is now "[redacted]", he said'],
    ['{"msg":"password of bob was set to: \\"hunter2\\""}', '{"msg":"password of bob was set to: \\"[redacted]\\""}'],
    ['our pin is 4711; token is: swordfish!', 'our pin is [redacted]; token is: [redacted]'],
    ['the passphrase is correct horse battery, as ever', 'the passphrase is [redacted], as ever'],
    ['the password is wrong-horse', 'the password is [redacted]'],
    ['{"msg":"password=\\"hunter2 x\\" of bob","a":"b"}', '{"msg":"password=\\"[redacted]\\" of bob","a":"b"}'],
    ['sent eyJhbGciOiJkaXIifQ..aXY.Y2lwaGVy.dGFn, then', 'sent [redacted], then'],
    // Cut off by the end of the text, or of what holds it.
    ['{"password":"hunter2 hunter2', '{"password":"[redacted]"'],
    ['{"msg":"password=\\"hunter2 hunter2","a":"b"}', '{"msg":"password=\\"[redacted]\\"","a":"b"}'],
    ["password: 'hunter2 hunter2", "password: '[redacted]'"],
    ['{"tokens":["hunter2","hunt', '{"tokens":[redacted]'],
    ['sent eyJhbGciOiJIUzI1NiJ9', 'sent [redacted]'],
    ['sent eyJhbGciOiJIUzI1NiJ9.eyJz', 'sent [redacted]'],
    ['cloned by ghp_16C7', 'cloned by [redacted]'],
    ['typed 7K3QZ-9XW2M-4TRVB-8H', 'typed [redacted]'],
    ['-----BEGIN PRIVATE KEY-----\nMIIEvQIB', '[redacted]'],
    ['Authorization: Bearer hunt', 'Authorization: [redacted]'],
    // As GitLab and others have variables: the name says it, or that it is masked.
    ['{"key":"DB_PASS","value":"hunter2 x","masked":false}', '{"key":"DB_PASS","value":"[redacted]","masked":false}'],
    [
      '{"key":"MINE","value":"hunter2","public":false,"masked":true}',
      '{"key":"MINE","value":"[redacted]","public":false,"masked":true}',
    ],
    [
      '{"msg":"{\\"name\\":\\"A_TOKEN\\",\\"value\\":\\"hunter2\\"}"}',
      '{"msg":"{\\"name\\":\\"A_TOKEN\\",\\"value\\":\\"[redacted]\\"}"}',
    ],
    ['- name: DB_PASSWORD\n  value: hunter2 x\nb: 2', '- name: DB_PASSWORD\n  value: [redacted]\nb: 2'],
    // A password that should have been written otherwise in an address.
    ['cannot log in to smtp://bob:hun@ter2@mail.lan:587', 'cannot log in to smtp://bob:[redacted]@mail.lan:587'],
    ['cannot log in to smtp://bob:hun/ter2@mail.lan:587', 'cannot log in to smtp://bob:[redacted]@mail.lan:587'],
    ['docker login -u bob -p hunter2 reg.lan', 'docker login -u bob -p [redacted] reg.lan'],
    [
      'sshpass -p hunter2 ssh x; curl -ubob:hunter2 http://x',
      'sshpass -p [redacted] ssh x; curl -ubob:[redacted] http://x',
    ],
    ['machine git.lan login bob password hunter2', 'machine git.lan login bob password [redacted]'],
    ['whsec_aHVudGVyMmh1bnRlcjI= glwt-hunterhunterhunter22', '[redacted] glwt-[redacted]'],
    ['https://hooks.slack.com/triggers/T0/1/hunter2', 'https://hooks.slack.com/triggers/[redacted]'],
    ['https://x.webhook.office.com/webhookb2/hunter2-hunter2', 'https://x.webhook.office.com/webhookb2/[redacted]'],
    ['https://hc.lan/ping/0b1c2d3e-aaaa-bbbb', 'https://hc.lan/ping/[redacted]'],
  ])('%s', (text, clean) => {
    expect(cleaned(text)).toBe(clean);
    expect(cleaned(clean)).toBe(clean);
  });

  it('what is known by heart, also within a word; a short one is not', () => {
    expect(cleaned('xswordfishx ab', ['swordfish', 'ab'])).toBe('x[redacted]x ab');
    expect(cleaned('they said swordfi', ['swordfish'])).toBe('they said [redacted]');
    expect(cleaned('they said sword', ['swordfish'])).toBe('they said sword');
  });

  const parts = [
    ...[
      '# ',
      '--token ',
      'a-',
      'token: ',
      '[',
      '-u x',
      'password is ',
      'token of a ',
      '- ',
      '\\"',
      'eyJ',
      '-eyJabcdefgh',
    ],
    ...[
      'token=[',
      'token="',
      'token=\\"',
      "token='",
      'pw=',
      'bearer ',
      'bearer',
      'basic:',
      'authorization: a',
      '?token',
      '&sig=',
    ],
    ...[
      'sk-',
      'glpat-',
      'AKIA',
      '-----BEGIN ',
      '-----END ',
      'ABCDE-',
      '/hooks/',
      'http://a/',
      '://a:',
      'words ',
      'token:\n',
      '"value":"',
      '"value":"",',
      '"key":"token",',
      '"key":"token","value":"',
      ' login -p ',
      'name: token\n',
      '://a:b@',
      '://a:b/',
    ],
  ];
  const befores = ['', 'token', 'token:', 'token="', 'bearer', 'authorization', 'the password is', '-----BEGIN '];
  const runs = [' ', '\t', '\n', 'a', '_', '-', '.', '\\', "'", ' "'];
  it.each([...parts.map((part) => ['', part]), ...runs.flatMap((run) => befores.map((before) => [before, run]))])(
    'a long line of %j and then %j alone is read in one go',
    (before, part) => {
      // Whatever looked back over all of it at each place would take minutes.
      const text = `${before}${part.repeat((1 << 17) / part.length)}`;
      expect(cleaned(text).length).toBeGreaterThan(0);
      expect(cleaned(`${text}\n`).length).toBeGreaterThan(0);
    },
  );

  it('what is no secret stays', () => {
    for (const text of [
      '12D3KooWQYV9dGMFoRzNStwpXztXaBUjtPqi6aU76ZgUriHhKust leads in term 12',
      '/var/lib/autogit-node/runs/r_0123456789ab/trace and /srv/Some/Longer/Path/2/With/Names1',
      '{"level":30,"time":1764480000000,"event":"run-finished","job":12,"state":"success"}',
      'job 12 (train) runs here: kang: has 8 CPU and 24 GiB free; RTX 3090 Ti 97%',
      '2026-11-30T05:12:13.123Z http://home.local:8080/lab/vision/-/jobs/4711',
      'put it into VAR: autogit-node gitlab connect URL --token-env VAR; 3 tests passed: no bypass',
      'the token is not valid: a new one was made; its password was changed by alice, and the secret is kept',
      'who is told: the password is wrong. GitLab says that the token was revoked',
      'this-is-a-long-name-of-a-branch-about-issue-1234-and-more',
      'the token is not valid',
      'the token is missing; its password was',
      'mkdir -p /srv/x; logged in with -p 22; fetched http://home.local:8080/lab/@bob/x@main and http://[fd00::1]:8080/a@b',
      '{"key":"STAGE","value":"production","public":true,"masked":false}',
      'asked by sk-1 and npm_x on seven-sated-machines',
      '{"tokenCount":12,"secretIsKept":true,"password":null}',
    ])
      expect(cleaned(text)).toBe(text);
  });
});
