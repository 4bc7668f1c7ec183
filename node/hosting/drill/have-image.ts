import { AutogitError } from '../../../protocol/errors.ts';
import type { Hosting } from '../../../scheduler/hosting/hosted-edits.ts';
import type { Log } from '../../log.ts';
import type { CloneEngine } from '../clone/clone-engine.ts';
import type { ServiceHost } from '../service-host.ts';

interface ImageParts {
  host: Pick<ServiceHost, 'image' | 'check'>;
  engine: Pick<CloneEngine, 'keep'>;
  log: Pick<Log, 'info'>;
  /** Gives a pull up. */
  signal: AbortSignal;
}

/** GitLab's image on this machine, of its architecture, pulled if it is not there, and kept. Throws `image-missing`, `no-docker`. */
export async function haveImage({ image, data }: Hosting, { host, engine, log, signal }: ImageParts): Promise<void> {
  const { arch } = await host.check();
  let found = await host.image(image, { pull: false, signal });
  if (found === null) {
    log.info(`GitLab's image ${image} is pulled: this machine holds a copy of GitLab, and tries it now and then`);
    found = await host.image(image, { pull: true, signal });
  }
  if (found !== null && found.arch !== arch)
    throw new AutogitError('image-missing', `image ${image} is for ${found.arch} here, and this machine is ${arch}`, {
      hint: 'the copy is kept all the same; another machine may try it: autogit-node gitlab copies',
    });
  await engine.keep(image, data);
}
