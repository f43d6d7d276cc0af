import { render } from "preact";
import { followSettings } from "../ui/theme";
import { App } from "./app";
import { follow } from "./data";

followSettings();
render(<App />, document.getElementById("app") as HTMLElement);
void follow();
