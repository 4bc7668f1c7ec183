import { randomBytes } from 'node:crypto';
import type { Answer, Ask } from '../../protocol/asks.ts';
import type { ChangeOutcome } from '../../protocol/changes.ts';
import type { Comparison } from '../../protocol/differences.ts';
import { AutogitError } from '../../protocol/errors.ts';
import { isFencedName } from '../../protocol/fenced.ts';
import type { NodeId } from '../../protocol/ids.ts';
import type { Ledger } from '../../protocol/ledger.ts';
import {
  type HostedAddress,
  hostedUrl,
  hostingOf,
  isDeployed,
  whyNoAddress,
  whyNotDeploy,
} from '../../scheduler/hosting/hosted-edits.ts';
import { whyNoUpgrade } from '../../scheduler/hosting/upgrade-edits.ts';
import { nodeName } from '../../scheduler/snapshot-view.ts';
import { refusalCheck } from '../hosting/deploy-check.ts';
import { VaultSecret } from '../hosting/vault/vault-memory.ts';
import type { HostingApi } from '../local-api/agent-api.ts';
import type {
  AdoptionSeen,
  AdoptPlan,
  AdoptRequest,
  BackupList,
  CertificateAnswer,
  CopyPlan,
  DeployPlan,
  DeployRequest,
  FencedRequest,
  MovePlan,
  ProtectionRequest,
  ProtectPlan,
  RegainPlan,
  RegainRequest,
  RestoreRequest,
  UpgradePlan,
  UpgradeRequest,
  VaultRequest,
} from '../local-api/socket-protocol.ts';
import { AdoptRequests } from './adopt-requests.ts';
import { askMember } from './asked-member.ts';
import { CertificateRequests } from './certificate-requests.ts';
import { CopiesRequests, requireHosting } from './copies-requests.ts';
import { addressLines, addressOf, type Checked } from './deploy-address.ts';
import { FencedRequests } from './fenced-requests.ts';
import type { HostingLines } from './hosting-lines.ts';
import { MoveRequests } from './move-requests.ts';
import { ProtectRequests } from './protect-requests.ts';
import { RegainRequests } from './regain-requests.ts';

interface Looked {
  host: NodeId;
  plan: DeployPlan;
  checked: Checked | null;
  /** Who will hold copies. */
  agreed: NodeId[];
}

/** In the question after a GitLab that has no data id yet. */
const firstData = '00000000';
/** The folder will be called after an id that is made later: nobody shall look for this one. */
const withoutFirstData = (line: DeployPlan['lines'][number]): DeployPlan['lines'][number] => ({
  ...line,
  sentence: line.sentence.replaceAll(`/${firstData}`, ''),
});

/** Whoever deploys where one runs already wants a newer one more often than another one. */
const uninstall = 'autogit-node gitlab uninstall';
const orUpgrade = `a newer version of it: autogit-node gitlab upgrade; another one in its place, after: ${uninstall}`;

/** It asks an engine, a registry and a disk. */
const checkMs = 30_000;
const lookMs = 30_000;
/** It asks a disk that sleeps, or a target far away. */
const vaultMs = 55_000;

/** What a person asks of the mesh's own GitLab, at any machine of it; done by the one that hosts, or shall host. */
export class HostingRequests implements HostingApi {
  readonly #lines: HostingLines;
  readonly #copies: CopiesRequests;
  readonly #protect: ProtectRequests;
  readonly #adopt: AdoptRequests;
  readonly #move: MoveRequests;
  readonly #certificate: CertificateRequests;
  readonly #regain: RegainRequests;
  readonly #fenced: FencedRequests;

  constructor(lines: HostingLines) {
    this.#lines = lines;
    this.#copies = new CopiesRequests(lines);
    this.#protect = new ProtectRequests(lines);
    this.#adopt = new AdoptRequests(lines);
    this.#move = new MoveRequests(lines);
    this.#certificate = new CertificateRequests(lines);
    this.#regain = new RegainRequests(lines, (wish, above) => this.gitlabDeploy(wish, above));
    this.#fenced = new FencedRequests(lines);
  }

  async gitlabPlan(wish: DeployRequest): Promise<DeployPlan> {
    const { plan } = await this.#look(wish);
    return plan;
  }

  /** `above`: an epoch that its data name. */
  async gitlabDeploy(wish: DeployRequest, above = 0): Promise<ChangeOutcome> {
    const { host, plan, checked, agreed } = await this.#look(wish);
    const failed = plan.lines.find(({ state }) => state === 'fail');
    if (failed) return { state: 'refused', because: failed.sentence };
    if (this.#isThere(wish, host)) return { state: 'done', because: `the mesh runs this very GitLab on ${plan.host}` };
    if (checked?.place == null) return { state: 'refused', because: `${plan.host} has no place for GitLab's data` };
    const { on: _on, data: _data, copies: _names, tls, hostname: _name, ipv6: _address, ...asked } = wish;
    return this.#lines.change({
      kind: 'deploy-gitlab',
      host,
      hosted: {
        ...asked,
        data: checked.place.data ?? randomBytes(6).toString('hex'),
        place: { kind: checked.place.kind, path: checked.place.path },
        ...addressOf(this.#lines.ledger(), wish, checked),
        ...(tls !== undefined && { https: this.#certificate.sealed(tls, host) }),
      },
      ...(agreed.length > 0 && { agreed }),
      ...(above > 0 && { above }),
      because: `asked on ${nodeName(this.#lines.ledger(), this.#lines.self)}`,
    });
  }

  gitlabCopies = (): { agreed: string[] } => this.#copies.agreed();
  gitlabCopyPlan = (node: string): Promise<CopyPlan> => this.#copies.plan(node);
  gitlabAgree = (request: { node: string; agreed: boolean }): Promise<ChangeOutcome> => this.#copies.agree(request);
  gitlabCertificate = ({ given }: { given: DeployRequest['tls'] | null }): Promise<CertificateAnswer> =>
    this.#certificate.renewed(given ?? null);

  async gitlabUninstall(request: { deleteData: boolean; now: boolean; force: boolean }): Promise<ChangeOutcome> {
    const meant = hostingOf(this.#lines.ledger());
    return this.#lines.change({ kind: 'uninstall-gitlab', ...request, ...(meant && { epoch: meant.epoch }) });
  }

  async gitlabPassword({ seen, user }: { seen?: string; user?: string }): Promise<{ password: string | null }> {
    const answer = await this.#askHost(
      user === undefined
        ? { kind: 'root-password', ...(seen !== undefined && { seen }) }
        : { kind: 'new-password', user },
      user === undefined ? lookMs : vaultMs,
    );
    return { password: answer.kind === 'root-password' ? answer.password : null };
  }

  async gitlabVault(request: VaultRequest): Promise<ChangeOutcome> {
    if (request.target === null)
      return this.#lines.change({ kind: 'set-vault', vault: null, because: `asked on ${this.#selfName}` });
    const { target, ...asked } = request;
    return { state: 'done', because: await this.#said({ kind: 'begin-vault', ...asked, target }, vaultMs) };
  }

  gitlabProtection = (request: ProtectionRequest): Promise<ProtectPlan> => this.#protect.plan(request);
  gitlabProtect = (request: ProtectionRequest): Promise<ChangeOutcome> => this.#protect.protect(request);
  gitlabUnprotect = (): Promise<ChangeOutcome> => this.#protect.end();
  gitlabAdoptPlan = (request: AdoptRequest): Promise<AdoptPlan> => this.#adopt.plan(request);
  gitlabAdopt = (request: AdoptRequest): Promise<string> => this.#adopt.begin(request);
  gitlabAdoption = (on: string | null): Promise<AdoptionSeen> => this.#adopt.seen(on);

  gitlabMovePlan = (node: string): Promise<MovePlan> => this.#move.plan(node);
  gitlabMove = (node: string, signal?: AbortSignal): Promise<ChangeOutcome> => this.#move.begin(node, signal);
  gitlabMoveCancel = (node: string | null): Promise<ChangeOutcome> => this.#move.cancel(node);
  gitlabRegainPlan = (request: RegainRequest): Promise<RegainPlan> => this.#regain.plan(request);
  gitlabRegain = (request: RegainRequest): Promise<ChangeOutcome> => this.#regain.take(request);

  gitlabBackup(): Promise<string> {
    return this.#said({ kind: 'backup-now' });
  }

  async gitlabBackups(): Promise<BackupList> {
    const answer = await this.#askHost({ kind: 'backups', rounds: true }, vaultMs);
    return answer.kind === 'backups' ? answer : { rows: [], problem: `the host answered with ${answer.kind}` };
  }

  gitlabRecoveryKey(): string {
    const { vault } = this.#lines.ledger().gitlab;
    if (vault === undefined)
      throw new AutogitError('backup', 'no place for backups is named', {
        hint: 'autogit-node gitlab backup --to /mnt/disk/gitlab',
      });
    const secret = this.#lines.unseal(vault.secret);
    if (secret === null)
      throw new AutogitError(
        'backup',
        'this machine does not vote, and only those who do open the key of the backups',
        {
          hint: 'which machines vote: autogit-node status -o wide',
        },
      );
    return VaultSecret.parse(JSON.parse(secret)).password;
  }

  async gitlabCompare(request: { with: string; from: number }): Promise<Comparison> {
    if (isFencedName(request.with)) return this.#fenced.compare(request.with, request.from);
    const answer = await this.#askHost({ kind: 'compare-gitlab', ...request }, vaultMs);
    if (answer.kind !== 'compared') throw new AutogitError('unsupported', `the host answered with ${answer.kind}`);
    return answer;
  }

  async gitlabDrill(on: string | null): Promise<{ node: string; said: string }> {
    const ledger = this.#lines.ledger();
    const { data, host, copies } = requireHosting(ledger);
    const standbys = (copies?.standbys ?? []).map(({ node }) => node);
    const inSync = standbys.find((node) => copies?.set.members.includes(node));
    // Where nobody stands by, of what the host has itself.
    const node = on === null ? (inSync ?? standbys[0] ?? host) : this.#lines.nodeNamed(on);
    const name = nodeName(ledger, node);
    if (!ledger.nodes[node]?.can?.includes('drill'))
      throw new AutogitError('unsupported', `${name} has an earlier version, which knows nothing of drills`, {
        hint: 'update it, then this again',
      });
    const answer = await this.#ask(node, { kind: 'drill-gitlab', data }, lookMs);
    return { node: name, said: answer.kind === 'said' ? answer.because : 'it was asked for' };
  }

  gitlabBringFenced = ({ name, project, on }: FencedRequest & { project: string }): Promise<string> =>
    this.#fenced.bring(name, project, on);
  gitlabDropFenced = ({ name, on }: FencedRequest): Promise<string> => this.#fenced.drop(name, on);

  gitlabRestore({ backup, project }: RestoreRequest): Promise<string> {
    if (project !== undefined) return this.#said({ kind: 'restore-project', backup, project });
    return this.#said({ kind: 'restore-gitlab', backup });
  }

  async gitlabUpgradePlan({ image, rehearse }: UpgradeRequest): Promise<UpgradePlan> {
    const ledger = this.#lines.ledger();
    const host = nodeName(ledger, requireHosting(ledger).host);
    const why = whyNoUpgrade(ledger);
    // An older host does not know the question.
    if (why !== null)
      return {
        host,
        from: null,
        steps: [],
        awayMs: 0,
        lines: [{ state: 'fail', what: 'mesh', sentence: why, fix: null }],
      };
    const answer = await this.#askHost({ kind: 'check-upgrade', image, rehearse });
    if (answer.kind !== 'upgrade-checked')
      throw new AutogitError('bad-message', `${host} answered with ${answer.kind} to what it was asked`);
    const { from, steps, awayMs, checks } = answer;
    return { host, from, steps, awayMs, lines: checks };
  }

  async gitlabUpgrade({ image, rehearse }: UpgradeRequest): Promise<ChangeOutcome> {
    const ledger = this.#lines.ledger();
    const { data, epoch, upgrade } = requireHosting(ledger);
    if (upgrade?.image === image) return { state: 'done', because: `GitLab is being upgraded to ${image} already` };
    const { lines, from } = await this.gitlabUpgradePlan({ image, rehearse });
    const failed = lines.find(({ state }) => state === 'fail');
    if (failed || from === null) return { state: 'refused', because: failed?.sentence ?? 'its version is not known' };
    const because = `asked on ${this.#selfName}`;
    return this.#lines.change({ kind: 'upgrade-gitlab', data, epoch, image, from, rehearse, because });
  }

  async gitlabRehearse(image: string): Promise<string> {
    const why = whyNoUpgrade(this.#lines.ledger());
    if (why !== null) throw new AutogitError('upgrade', why);
    return this.#said({ kind: 'rehearse-upgrade', image });
  }

  get #selfName(): string {
    return nodeName(this.#lines.ledger(), this.#lines.self);
  }

  async #said(ask: Ask, timeoutMs = lookMs): Promise<string> {
    const answer = await this.#askHost(ask, timeoutMs);
    return answer.kind === 'said' ? answer.because : 'it was asked for';
  }

  async reconcile(): Promise<string> {
    if (hostingOf(this.#lines.ledger()) === null)
      return 'the mesh runs no GitLab itself, and looks at all else all the time: autogit-node status';
    const answer = await this.#askHost({ kind: 'look-at-gitlab' });
    return answer.kind === 'said' ? answer.because : 'it was asked for';
  }

  async #askHost(ask: Ask, timeoutMs = lookMs): Promise<Answer> {
    return this.#ask(keeperOf(this.#lines.ledger(), ask), ask, timeoutMs);
  }

  #ask = (node: NodeId, ask: Ask, timeoutMs: number): Promise<Answer> => askMember(this.#lines, node, ask, timeoutMs);

  /** Asked for again, because the answer was lost or nobody watched to the end. */
  #isThere({ data, tls, ...wish }: DeployRequest, host: NodeId): boolean {
    return isDeployed(this.#lines.ledger(), host, { ...wish, isHttps: tls !== undefined, folder: data });
  }

  /** What a look says where the mesh runs that very GitLab, or is about to; null where it does not. */
  #deployed(wish: DeployRequest, host: NodeId): Looked | null {
    if (!this.#isThere(wish, host)) return null;
    const ledger = this.#lines.ledger();
    const hosting = requireHosting(ledger);
    const name = nodeName(ledger, host);
    const sentence = `the mesh runs this very GitLab on ${name}: nothing is begun anew`;
    const lines = [{ state: 'ok' as const, what: 'mesh', sentence, fix: null }];
    const plan = { host: name, url: hostedUrl(hosting), folder: hosting.place.path, copies: [], lines };
    return { host, checked: null, agreed: [], plan };
  }

  /** What speaks against it in the ledger, and what the machine that shall run it finds. */
  async #look(wish: DeployRequest): Promise<Looked> {
    const ledger = this.#lines.ledger();
    const host = wish.on === null ? this.#lines.self : this.#lines.nodeNamed(wish.on);
    const name = nodeName(ledger, host);
    const there = this.#deployed(wish, host);
    if (there !== null) return there;
    const { on: _on, copies: wanted, tls, ipv6, ...asked } = wish;
    const urlOf = (at: Pick<HostedAddress, 'hostname' | 'ipv6'>): string =>
      hostedUrl({ ...at, port: wish.port, https: tls });
    const plan = {
      host: name,
      url: urlOf({ hostname: wish.hostname ?? name, ipv6 }),
      folder: wish.data ?? '-',
      copies: [],
    };
    const refused = whyNotDeploy(ledger, host) ?? whyNoAddress(ledger, host, { https: tls, ipv6 });
    if (refused !== null) {
      const line = refusalCheck(refused);
      const fix = line.fix === uninstall ? orUpgrade : line.fix;
      return { host, checked: null, agreed: [], plan: { ...plan, lines: [{ ...line, fix }] } };
    }
    const answer = await this.#lines.ask(host, { kind: 'check-deploy', wish: asked }, checkMs);
    if (answer.kind !== 'deploy-checked') {
      const because = answer.kind === 'refused' ? answer.because : `it answered with ${answer.kind}`;
      throw new AutogitError('unsupported', `${name} does not look whether it could run GitLab: ${because}`, {
        hint: 'which machines vote: autogit-node status -o wide',
      });
    }
    const { place } = answer;
    // Whether it can be copied is a question of its place: while there is none, that is what has to be mended.
    if (place === null) return { host, checked: answer, agreed: [], plan: { ...plan, lines: answer.checks } };
    const hasSnapshots = place.kind !== 'folder';
    const at = addressOf(ledger, wish, answer);
    const address = at.ipv6 ?? at.hostname;
    const certificate = await this.#certificate.planned(tls, address);
    const copies = await this.#copies.forDeploy(host, {
      // Nothing lies there of a GitLab that is not deployed yet.
      data: place.data ?? firstData,
      ...{ preset: wish.preset, hasSnapshots, wanted },
    });
    // Somebody else's deployment of the same began meanwhile: that its ports and its folder are taken is no failure of this one.
    const meanwhile = this.#deployed(wish, host);
    if (meanwhile !== null) return meanwhile;
    return {
      host,
      checked: answer,
      agreed: copies.nodes,
      plan: {
        ...plan,
        url: urlOf(at),
        folder: place.path,
        copies: copies.nodes.map((node) => nodeName(ledger, node)),
        lines: [
          ...answer.checks,
          ...addressLines(ledger, address, answer),
          ...certificate,
          ...copies.lines.map(withoutFirstData),
        ],
      },
    };
  }
}

/** Who hosts GitLab or, of its backups and where the mesh hosts none, who makes those of the one that it protects. */
function keeperOf(ledger: Ledger, { kind }: Ask): NodeId {
  const { mode, protected: known } = ledger.gitlab;
  const isOfBackups =
    kind === 'begin-vault' || kind === 'backup-now' || kind === 'backups' || kind === 'restore-gitlab';
  return mode !== 'hosted' && known !== undefined && isOfBackups ? known.node : requireHosting(ledger).host;
}
