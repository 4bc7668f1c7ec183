import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type Docker from 'dockerode';
import { DockerImages, type ImageOptions } from '../../node/executors/docker-images.ts';

const digest = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** A registry with one image of one layer, which can be pushed to by `version`, and can refuse. */
export class OneImageRegistry {
  readonly #server: Server;
  address = '';
  version = 'one';
  refusal: string | null = null;
  /** It takes what it is asked, and says nothing, as behind a firewall that drops. */
  isSilent = false;
  /** Which users it lets in; null: everybody, without a login. */
  letsIn: ((user: string) => boolean) | null = null;
  /** What was asked of it, but for its door. */
  asked: string[] = [];

  constructor() {
    this.#server = createServer((request, answer) => {
      if (this.isSilent) return;
      const path = request.url ?? '';
      const send = (status: number, type: string, body: Buffer): void => {
        answer.writeHead(status, {
          'Content-Type': type,
          'Content-Length': body.length,
          'Docker-Content-Digest': digest(body),
        });
        answer.end(request.method === 'HEAD' ? undefined : body);
      };
      const [, user = ''] = /^Basic (.*)$/.exec(request.headers.authorization ?? '') ?? [];
      const name = Buffer.from(user, 'base64').toString().split(':')[0] ?? '';
      if (this.letsIn !== null && !this.letsIn(name)) {
        answer.setHeader('WWW-Authenticate', 'Basic realm="t-images"');
        const errors = [{ code: 'UNAUTHORIZED', message: 'authentication required' }];
        return send(401, 'application/json', Buffer.from(JSON.stringify({ errors })));
      }
      if (path !== '/v2/') this.asked.push(`${request.method} ${path.replace(/sha256:\w+$/, 'sha256')}`);
      if (path === '/v2/') return send(200, 'application/json', Buffer.from('{}'));
      const { manifest, config, layer } = this.#image();
      if (path.includes('/manifests/'))
        return send(200, 'application/vnd.docker.distribution.manifest.v2+json', manifest);
      if (path.endsWith(digest(config))) return send(200, 'application/octet-stream', config);
      if (this.refusal !== null) {
        const errors = [{ code: 'DENIED', message: this.refusal }];
        return send(403, 'application/json', Buffer.from(JSON.stringify({ errors })));
      }
      return send(200, 'application/octet-stream', layer);
    });
  }

  async begin(): Promise<string> {
    await new Promise<void>((done) => this.#server.listen(0, '127.0.0.1', done));
    this.address = `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    return this.address;
  }

  async end(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  #image(): { manifest: Buffer; config: Buffer; layer: Buffer } {
    const script = 'd=$(mktemp -d); printf %s "$0" >$d/version; tar -c --mtime=@0 --sort=name -C $d version; rm -r $d';
    const layer = execFileSync('sh', ['-c', script, this.version]);
    const config = Buffer.from(
      JSON.stringify({
        architecture: process.arch === 'x64' ? 'amd64' : process.arch,
        os: 'linux',
        config: { Labels: { version: this.version } },
        rootfs: { type: 'layers', diff_ids: [digest(layer)] },
      }),
    );
    const part = (mediaType: string, bytes: Buffer) => ({ mediaType, size: bytes.length, digest: digest(bytes) });
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: 'application/vnd.docker.distribution.manifest.v2+json',
        config: part('application/vnd.docker.container.image.v1+json', config),
        layers: [part('application/vnd.docker.image.rootfs.diff.tar', layer)],
      }),
    );
    return { manifest, config, layer };
  }
}

/** What an agent with this home knows of its engine's images; a second one of the same home is the agent after a restart. */
export function imagesOf(docker: Docker, home: string | null, more: Partial<ImageOptions> = {}) {
  const lines: string[] = [];
  const say = (sentence: string): void => void lines.push(sentence);
  const images = new DockerImages({
    home,
    docker: async () => docker,
    isLocal: true,
    roomPercent: 0,
    ageMs: 0,
    log: { info: say, warn: say },
    wallMs: Date.now,
    ...more,
  });
  return { images, lines };
}
