import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Browser, Page } from 'playwright-core';

const kept = fileURLToPath(new URL('../../docs/pictures/', import.meta.url));
/** Where a test leaves what it saw, to be looked at. */
const seen = join(process.env.AUTOGIT_SEEN ?? tmpdir(), 'autogit-page-pictures');
/** `AUTOGIT_PICTURES=1`: what docs/pictures keeps is made anew. */
const isMakingAnew = process.env.AUTOGIT_PICTURES === '1';

const mostBytes = 150_000;

/** Kept to be looked at, compared with nothing: no two meshes are alike. */
export async function keepPicture(page: Page, name: string): Promise<void> {
  mkdirSync(seen, { recursive: true });
  await page.screenshot({ path: join(seen, name) });
}

/** What speaks against a picture of the page: none kept, another size, too many points that are otherwise. Null: as it was. */
export async function pictureFault(browser: Browser, page: Page, name: string, height: number): Promise<string | null> {
  const { width } = page.viewportSize() ?? { width: 0 };
  const taken = await page.screenshot({
    clip: { x: 0, y: 0, width, height },
    scale: 'css',
    animations: 'disabled',
    caret: 'hide',
  });
  mkdirSync(seen, { recursive: true });
  writeFileSync(join(seen, name), taken);
  const file = join(kept, name);
  if (isMakingAnew) {
    mkdirSync(kept, { recursive: true });
    writeFileSync(file, taken);
  }
  if (!existsSync(file)) return `docs/pictures/${name} is not there: AUTOGIT_PICTURES=1 makes it`;
  const before = readFileSync(file);
  if (before.length > mostBytes) return `docs/pictures/${name} has ${before.length} bytes`;
  const { sizes, share } = await compared(browser, before, taken);
  if (sizes[0] !== sizes[1]) return `docs/pictures/${name} is ${sizes[0]}, and the page is ${sizes[1]} now`;
  // Other fonts move every letter; another page moves its parts.
  return share > 0.2 ? `${Math.round(100 * share)} % of ${name} is otherwise: see ${join(seen, name)}` : null;
}

/** Both drawn by the browser; `share` of blocks of 8 x 8 points whose mean is clearly another one. */
async function compared(browser: Browser, ...both: [Buffer, Buffer]): Promise<{ sizes: string[]; share: number }> {
  const page = await browser.newPage();
  try {
    const urls = both.map((bytes) => `data:image/png;base64,${bytes.toString('base64')}`);
    return (await page.evaluate(`(async () => {
      const drawn = await Promise.all(${JSON.stringify(urls)}.map(async (url) => {
        const image = new Image();
        image.src = url;
        await image.decode();
        const canvas = new OffscreenCanvas(Math.ceil(image.width / 8), Math.ceil(image.height / 8));
        const context = canvas.getContext('2d');
        context.imageSmoothingQuality = 'high';
        context.drawImage(image, 0, 0, canvas.width, canvas.height);
        return { size: image.width + ' x ' + image.height, points: context.getImageData(0, 0, canvas.width, canvas.height).data };
      }));
      const [a, b] = drawn.map(({ points }) => points);
      let other = 0;
      for (let at = 0; at < a.length; at += 4)
        if ([0, 1, 2].some((part) => Math.abs(a[at + part] - b[at + part]) > 40)) other += 1;
      return { sizes: drawn.map(({ size }) => size), share: other / (a.length / 4) };
    })()`)) as { sizes: string[]; share: number };
  } finally {
    await page.close();
  }
}
