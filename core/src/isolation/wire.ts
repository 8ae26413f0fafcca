/** The services of the `rpc` wire, read from their .proto files when the first plugin needs them. */
import { fileURLToPath } from "node:url";
import { loadPackageDefinition, type GrpcObject, type ServiceClientConstructor } from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

export interface WireServices {
  readonly plugin: ServiceClientConstructor;
  readonly host: ServiceClientConstructor;
  readonly health: ServiceClientConstructor;
}

let services: WireServices | undefined;

export function wireServices(): WireServices {
  if (services) return services;
  const files = ["plugin", "health"].map((name) => fileURLToPath(import.meta.resolve(`@k3s-p/plugin-api/wire/${name}.proto`)));
  const tree = loadPackageDefinition(loadSync(files, { enums: String, defaults: false, oneofs: false }));
  const at = (...path: string[]) => path.reduce<GrpcObject>((object, key) => object[key] as GrpcObject, tree) as unknown as ServiceClientConstructor;
  return (services = { plugin: at("k3sp", "v1", "Plugin"), host: at("k3sp", "v1", "Host"), health: at("grpc", "health", "v1", "Health") });
}
