import { execFile, execFileSync, spawn } from 'node:child_process';
import { randomBytes, X509Certificate } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { pipelineEnd } from '../../e2e/mesh.ts';
import { until } from '../../e2e/rig.ts';
import { type TestCertificate, testCertificate } from '../../hosting/test-certificate.ts';
import type { LabMachine } from '../lab-machine.ts';
import { demand, type HostedLab, lastLine, type Said, seconds } from './hosted-lab.ts';
import type { LabCase } from './machine-cases.ts';

const run = promisify(execFile);
const port = 8443;
const net = 'fd77:1ab::';
/** What whoever asks in the lab believes: curl, git, and Node. */
const believers = ['CURL_CA_BUNDLE', 'GIT_SSL_CAINFO', 'NODE_EXTRA_CA_CERTS'] as const;
const pushes = 3;
const pushBytes = 48 << 20;
/** A clone of it takes a quarter of a minute on the slow cable. */
const cloneBytes = 2 << 20;

/** GitLab's address is one of IPv6 on the LAN's own cables, and each who asks has IPv6 too. */
class Secure {
  readonly hosted: HostedLab;
  readonly host = `${net}1`;
  readonly url = `https://[${net}1]:${port}`;
  readonly dir: string;
  readonly ca: string;

  constructor(hosted: HostedLab) {
    this.hosted = hosted;
    this.dir = mkdtempSync(join(tmpdir(), 'autogit-lab-tls-'));
    this.ca = join(this.dir, 'ca.pem');
    for (const [at, { namespace }] of hosted.lab.machines.entries())
      execFileSync('ip', ['-n', namespace, 'addr', 'replace', `${net}${at + 1}/64`, 'dev', 'eth0', 'nodad']);
  }

  flags({ certificate, key }: TestCertificate): string[] {
    const files = [join(this.dir, 'given.crt'), join(this.dir, 'given.key')] as const;
    writeFileSync(files[0], certificate);
    writeFileSync(files[1], key, { mode: 0o600 });
    return ['--tls-ca', this.ca, '--tls-cert', files[0], '--tls-key', files[1]];
  }

  deploy(...more: string[]): Promise<Said> {
    return this.hosted.deploy(this.hosted.lab.machine('desktop-1'), more, port);
  }

  /** desktop-2: it knows no other way than the address. */
  get other(): LabMachine {
    return this.hosted.lab.machine('desktop-2');
  }

  there(file: string, ...args: string[]): Promise<{ stdout: string; stderr: string }> {
    return run('nsenter', [this.other.net, 'timeout', '120', file, ...args]);
  }

  slow(rate: string | null): void {
    const { lab } = this.hosted;
    const cable = ['dev', `p${lab.number(this.other)}`, 'root'];
    const limit = rate === null ? [] : ['tbf', 'rate', rate, 'burst', '32kb', 'latency', '50ms'];
    execFileSync('tc', ['-n', lab.lan.hub, 'qdisc', rate === null ? 'del' : 'replace', ...cable, ...limit]);
  }

  end(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** Whoever pushes much reads the end of it, each time. */
async function largePushes(secure: Secure, remote: string): Promise<number[]> {
  const tree = join(secure.dir, 'large');
  const took: number[] = [];
  await secure.there('git', 'clone', '-q', remote, tree);
  const git = (...words: string[]): Promise<{ stdout: string }> =>
    secure.there('git', '-C', tree, '-c', 'user.name=lab', '-c', 'user.email=lab@lab', ...words);
  for (let at = 0; at < pushes; at++) {
    writeFileSync(join(tree, 'large'), randomBytes(pushBytes));
    await git('add', '-A');
    await git('-c', 'core.compression=0', 'commit', '-q', '-m', '[skip ci] much');
    const began = performance.now();
    await git('push', '-q', 'origin', 'HEAD:large');
    took.push(performance.now() - began);
  }
  const [here, served] = [await git('rev-parse', 'HEAD'), await git('ls-remote', 'origin', 'large')];
  demand(served.stdout.startsWith(here.stdout.trim()), 'what was pushed is not what is served');
  return took;
}

/** The certificate is changed while somebody clones over a slow cable: nothing that passes is cut. */
async function renewed(secure: Secure, remote: string, next: TestCertificate): Promise<string> {
  const { hosted } = secure;
  const desktop = hosted.lab.machine('desktop-1');
  const whole = join(secure.dir, 'whole');
  secure.slow('1mbit');
  try {
    const cloning = spawn('nsenter', [secure.other.net, 'git', 'clone', '-q', '--mirror', remote, whole], {
      stdio: 'ignore',
    });
    const cloned = new Promise<number | null>((done) => cloning.on('exit', done));
    await until('it clones', () => existsSync(whole));
    const { stdout } = await hosted.done(desktop, 'gitlab', 'certificate', ...secure.flags(next));
    demand(/good for (19|20) days more$/m.test(stdout), stdout);
    const wanted = new X509Certificate(next.certificate).fingerprint;
    const peer = `openssl s_client -connect [${secure.host}]:${port} </dev/null 2>/dev/null | openssl x509`;
    const served = async (): Promise<boolean> =>
      new X509Certificate(await hosted.inside(hosted.kang, peer)).fingerprint === wanted;
    await until('the next one is served', () => served().catch(() => false), 30_000);
    demand(!existsSync(join(whole, 'packed-refs')), 'the clone had ended before the certificate was another one');
    const code = await cloned;
    demand(code === 0, `the clone that went on meanwhile ended with ${code}`);
  } finally {
    secure.slow(null);
  }
  const of = async () => (await desktop.status()).attention.find(({ code }) => code === 'gitlab-certificate');
  return (await until('its end is told', of)).sentence;
}

async function overHttps(hosted: HostedLab): Promise<string> {
  const { kang, lab, gitlab } = hosted;
  const before = await hosted.whole();
  const secure = new Secure(hosted);
  const [first, next] = [testCertificate([secure.host]), testCertificate([secure.host, 'git.lan'], 20)];
  writeFileSync(secure.ca, `${first.certificate}${next.certificate}`);
  for (const name of believers) process.env[name] = secure.ca;
  try {
    await hosted.done(lab.machine('desktop-1'), '--yes', 'gitlab', 'uninstall');
    const here = ['--hostname', `https://[${secure.host}]`, ...secure.flags(first)];
    const other = await secure.deploy(...here, '--hostname', 'https://git.lan');
    demand(other.code === 1 && other.stderr.includes('not for git.lan'), `another name: ${lastLine(other.stderr)}`);
    const deployed = await secure.deploy(...here);
    demand(deployed.code === 0, `gitlab deploy ended with ${deployed.code}: ${lastLine(deployed.stderr)}`);
    gitlab.url = secure.url;
    await hosted.served();
    // The stand-in's Rails begin anew whenever its console wrote, the mesh's token for one.
    let answers = 0;
    await until('it answers for a while', async () => {
      const ask = ['-s', '-H', `PRIVATE-TOKEN: ${gitlab.token}`, `${secure.url}/api/v4/projects`];
      const { stdout } = await secure.there('curl', ...ask).catch(() => ({ stdout: '' }));
      answers = stdout.startsWith('[{') ? answers + 1 : 0;
      return answers > 20;
    });
    const inTheClear = `${secure.url.replace('https', 'http')}/a`;
    const led = await secure.there('curl', '-s', '-o', '/dev/null', '-w', '%{redirect_url}', inTheClear);
    demand(led.stdout === `${secure.url}/a`, `http leads to "${led.stdout}"`);

    // Its sources come by the mesh's own git, and it finds the CA that the mesh believes.
    const script = 'test -s "$CI_SERVER_TLS_CA_FILE" && case "$CI_SERVER_URL" in https:*) ;; *) exit 1 ;; esac';
    const ciFile = `believes: { image: 'autogit-test:bash', script: ['${script}', 'test -s random'] }`;
    const text = randomBytes(cloneBytes).toString('base64');
    const project = await gitlab.push('tls', { '.gitlab-ci.yml': ciFile, random: text });
    const { status, jobs } = await pipelineEnd({ gitlab }, project);
    const trace = status === 'success' ? '' : await gitlab.trace(project, jobs[0]?.id ?? 0);
    demand(status === 'success', `its job ended as ${status}: ${trace.slice(-600)}`);

    const remote = `${secure.url.replace('//', `//root:${gitlab.token}@`)}/root/tls.git`;
    const told = await renewed(secure, remote, next);
    const took = await largePushes(secure, remote);
    const access = hosted.docker('exec', hosted.container(), 'cat', '/var/log/gitlab/nginx/gitlab_access.log');
    const pusher = access.split('\n').findLast((line) => line.includes('POST /root/tls.git/git-receive-pack'));
    demand(pusher?.split(' ')[0] === `${net}3`, `who pushed is ${pusher}`);
    const line = next.key.split('\n')[1] ?? '';
    demand(line !== '', 'the certificate that was made has no key');
    const homes = lab.machines.map(({ agent }) => agent.home);
    const leaks = await run('grep', [
      '-rlaF',
      '--exclude=gitlab-tls.pem',
      '--exclude-dir=gitlab-copies',
      line,
      ...homes,
    ]).catch((error: { stdout: string }) => error);
    demand(leaks.stdout === '', `the key lies in ${leaks.stdout}`);
    const holders = homes.filter((home) => existsSync(join(home, 'gitlab-tls.pem')));
    demand(holders.length === 1 && holders[0] === kang.agent.home, `the key's file is on ${holders.join(', ')}`);
    return `a job with its sources by https on IPv6; certificate changed under a clone, which ended; "${told}"; ${pushes} pushes of ${pushBytes >> 20} MiB by ${net}3 in ${took.map(seconds).join(', ')}; the key is on kang alone; ${await hosted.nothingLost(before)}`;
  } finally {
    for (const name of believers) delete process.env[name];
    secure.end();
  }
}

/** The last one: GitLab has another address afterwards. */
export const httpsCase: LabCase = {
  name: 'https',
  what: 'deployed anew by https on IPv6, certificate and large pushes',
  run: overHttps,
};
