/** Links in pages that come through a proxy path lead back through it, as upstream's proxy transport does. */

/** Attributes that hold URLs, by tag. */
const linkAttributes: Readonly<Record<string, readonly string[]>> = {
  a: ["href"], applet: ["codebase"], area: ["href"], audio: ["src"], base: ["href"], blockquote: ["cite"], body: ["background"],
  button: ["formaction"], command: ["icon"], del: ["cite"], embed: ["src"], form: ["action"], frame: ["longdesc", "src"],
  head: ["profile"], html: ["manifest"], iframe: ["longdesc", "src"], img: ["longdesc", "src", "usemap"],
  input: ["src", "usemap", "formaction"], ins: ["cite"], link: ["href"], object: ["classid", "codebase", "data", "usemap"],
  q: ["cite"], script: ["src"], source: ["src"], track: ["src"], video: ["poster", "src"],
};

export interface ProxyPlace {
  /** Path up to and with `/proxy`. */
  readonly prefix: string;
  /** `host:port` of what answers. */
  readonly backend: string;
}

const tagPattern = /<([a-zA-Z]+)(\s[^<>]*)>/g;

export function rewriteLinks(html: string, place: ProxyPlace): string {
  return html.replace(tagPattern, (whole, tag: string, attributes: string) => {
    const names = linkAttributes[tag.toLowerCase()];
    if (!names) return whole;
    const pattern = new RegExp(`(\\s(?:${names.join("|")})\\s*=\\s*)("[^"]*"|'[^']*')`, "gi");
    const changed = attributes.replace(pattern, (_, before: string, quoted: string) =>
      `${before}${quoted[0]}${rewriteUrl(quoted.slice(1, -1), place)}${quoted[0]}`);
    return `<${tag}${changed}>`;
  });
}

/** Absolute paths, and URLs of the backend itself, get the prefix; everything else stays. */
export function rewriteUrl(url: string, { prefix, backend }: ProxyPlace): string {
  if (url.startsWith("/") && !url.startsWith("//")) return url.startsWith(`${prefix}/`) ? url : prefix + url;
  const match = /^(?:https?:)?\/\/([^/?#]+)(.*)$/.exec(url);
  if (!match || match[1] !== backend) return url;
  return prefix + (match[2]!.startsWith("/") ? match[2] : `/${match[2]}`);
}
